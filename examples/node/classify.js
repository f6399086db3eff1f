// One image through hilum.v1.Vision with @grpc/grpc-js: ADDRESS IMAGE MODEL OVERLAY.png
// The stub is made from proto/ as this runs. Prints decision, label and calibrated score; of an image
// that the model refuses, why.
const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const proto = path.join(__dirname, "../../proto");
const definition = loader.loadSync("hilum/v1/vision.proto", { includeDirs: [proto], keepCase: true });
const { hilum } = grpc.loadPackageDefinition(definition);
const [address, image, model, overlay] = process.argv.slice(2);
const client = new hilum.v1.Vision(address, grpc.credentials.createInsecure());
const request = { model, image: fs.readFileSync(image), overlay: true };
client.Classify(request, { deadline: Date.now() + 10_000 }, (error, answer) => {
  if (error) throw error;
  if (answer.decision === "rejected") {
    console.error("rejected: " + answer.warnings.map(({ code, text }) => `${code}: ${text}`).join("; "));
    process.exitCode = 1;
    return;
  }
  const { calibrated } = answer.scores.find((score) => score.label === answer.label);
  console.log(`${answer.decision} ${answer.label} ${calibrated.toFixed(4)}`);
  fs.writeFileSync(overlay, answer.explanation.overlay_png);
});
