// A browser's client, unmodified, under Node: connect-es over gRPC-Web, its stubs made from proto/.
// Arguments: the server's URL, the model of tensors, the model of images, an image file.
// Prints what came as JSON.
import { readFileSync } from "node:fs";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Health } from "./gen/grpc/health/v1/health_pb.js";
import { Vision } from "./gen/hilum/v1/vision_pb.js";
import { GRPCInferenceService } from "./gen/inference/grpc_service_pb.js";

const [baseUrl, tensors, images, file] = process.argv.slice(2);
const transport = createGrpcWebTransport({ baseUrl });
const inference = createClient(GRPCInferenceService, transport);
const told = {};

const { ready } = await inference.modelReady({ name: tensors });
const { inputs } = await inference.modelMetadata({ name: tensors });
const shape = inputs[0].shape.map((length) => (length < 0n ? 1n : length));
const elements = new Float32Array(Number(shape.reduce((all, length) => all * length, 1n)));
const input = { name: inputs[0].name, datatype: "FP32", shape };
const request = { modelName: tensors, id: "w-7", inputs: [input], rawInputContents: [new Uint8Array(elements.buffer)] };
let version;
const answer = await inference.modelInfer(request, {
  headers: { "x-request-id": "r-7" },
  onHeader: (headers) => (version = headers.get("x-model-version")),
});
const raw = answer.rawOutputContents[0];
told.infer = {
  ready,
  id: answer.id,
  version,
  scores: Array.from(new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length))),
};

try {
  await inference.modelInfer({ ...request, modelName: "cats" });
} catch (error) {
  told.refusal = { code: Code[ConnectError.from(error).code], text: ConnectError.from(error).rawMessage };
}

const leave = new AbortController();
for await (const { status } of createClient(Health, transport).watch({ service: "" }, { signal: leave.signal })) {
  told.watch = status;
  break;
}
leave.abort();

const seen = await createClient(Vision, transport).classify({ model: images, image: readFileSync(file), overlay: true });
told.classify = {
  decision: seen.decision,
  label: seen.label,
  scores: seen.scores.map((score) => score.calibrated),
  overlay: Buffer.from(seen.explanation.overlayPng.slice(1, 4)).toString(),
};
console.log(JSON.stringify(told));
