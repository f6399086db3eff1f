// One image through @grpc/grpc-js; the stub is made from proto/ as this runs.
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const proto = path.join(__dirname, "../../proto");
const definition = loader.loadSync("inference/grpc_service.proto", { includeDirs: [proto], keepCase: true });
const { inference } = grpc.loadPackageDefinition(definition);
const address = process.argv[2] ?? "127.0.0.1:8001";
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());
const request = {
  model_name: "mnist",
  inputs: [{ name: "image", datatype: "FP32", shape: [1, 1, 28, 28] }],
  raw_input_contents: [Buffer.from(new Float32Array(28 * 28).buffer)],
};
client.ModelInfer(request, { deadline: Date.now() + 10_000 }, (error, answer) => {
  if (error) throw error;
  const raw = answer.raw_output_contents[0];
  const scores = Array.from({ length: raw.length / 4 }, (_, i) => raw.readFloatLE(4 * i));
  const best = Math.max(...scores);
  console.log(`${scores.indexOf(best)} ${best.toFixed(4)}`);
});
