// One image through grpc-java; Maven's and Gradle's protobuf plugins make the stub of proto/.
import com.google.protobuf.ByteString;
import inference.GRPCInferenceServiceGrpc;
import inference.GrpcService.ModelInferRequest;
import io.grpc.ManagedChannelBuilder;
import java.nio.ByteOrder;
import java.util.List;
import java.util.concurrent.TimeUnit;

class Infer {
    public static void main(String[] arguments) {
        var address = arguments.length > 0 ? arguments[0] : "127.0.0.1:8001";
        var channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
        var stub = GRPCInferenceServiceGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
        var request = ModelInferRequest.newBuilder().setModelName("mnist");
        request.addInputsBuilder().setName("image").setDatatype("FP32").addAllShape(List.of(1L, 1L, 28L, 28L));
        request.addRawInputContents(ByteString.copyFrom(new byte[28 * 28 * Float.BYTES]));
        var raw = stub.modelInfer(request.build()).getRawOutputContents(0).asReadOnlyByteBuffer();
        var scores = raw.order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        int best = 0;
        for (int digit = 1; digit < scores.limit(); digit++) best = scores.get(digit) > scores.get(best) ? digit : best;
        System.out.printf("%d %.4f%n", best, scores.get(best));
        channel.shutdownNow();
    }
}
