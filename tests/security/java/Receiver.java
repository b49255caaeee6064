import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.metrics.MetricsReporter;
import org.apache.kafka.server.telemetry.ClientTelemetry;
import org.apache.kafka.server.telemetry.ClientTelemetryReceiver;
import org.apache.kafka.shaded.io.opentelemetry.proto.metrics.v1.MetricsData;

/** Writes what clients push to the file of the system property {@code telemetry.log}: instance, last or not, and names. */
public class Receiver implements MetricsReporter, ClientTelemetry {
    @Override
    public ClientTelemetryReceiver clientReceiver() {
        return (context, payload) -> {
            try {
                StringBuilder line = new StringBuilder(payload.clientInstanceId().toString());
                line.append(payload.isTerminating() ? " last" : " push");
                MetricsData.parseFrom(payload.data()).getResourceMetricsList().forEach(resource ->
                    resource.getScopeMetricsList().forEach(scope ->
                        scope.getMetricsList().forEach(metric -> line.append(' ').append(metric.getName()))));
                Files.writeString(Path.of(System.getProperty("telemetry.log")), line.append('\n'),
                    StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        };
    }

    @Override
    public void init(List<KafkaMetric> metrics) { }

    @Override
    public void metricChange(KafkaMetric metric) { }

    @Override
    public void metricRemoval(KafkaMetric metric) { }

    @Override
    public void close() { }

    @Override
    public void configure(Map<String, ?> configs) { }
}
