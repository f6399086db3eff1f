// One image through hilum.v1.Vision with grpc-java: ADDRESS IMAGE MODEL OVERLAY.png
// Prints decision, label and calibrated score; of an image that the model refuses, why.
import com.google.protobuf.ByteString;
import hilum.v1.VisionGrpc;
import hilum.v1.VisionOuterClass.ClassifyRequest;
import io.grpc.ManagedChannelBuilder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

class Classify {
    public static void main(String[] arguments) throws Exception {
        var channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
        var stub = VisionGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
        var image = ByteString.copyFrom(Files.readAllBytes(Path.of(arguments[1])));
        var request = ClassifyRequest.newBuilder().setModel(arguments[2]).setImage(image).setOverlay(true);
        var answer = stub.classify(request.build());
        if (answer.getDecision().equals("rejected")) {
            for (var warning : answer.getWarningsList())
                System.err.printf("rejected: %s: %s%n", warning.getCode(), warning.getText());
            System.exit(1);
        }
        var scores = answer.getScoresList().stream();
        var score = scores.filter(one -> one.getLabel().equals(answer.getLabel())).findFirst().orElseThrow();
        System.out.printf("%s %s %.4f%n", answer.getDecision(), answer.getLabel(), score.getCalibrated());
        Files.write(Path.of(arguments[3]), answer.getExplanation().getOverlayPng().toByteArray());
        channel.shutdownNow();
    }
}
