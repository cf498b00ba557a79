import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.PollContext;
import io.confluent.parallelconsumer.vertx.VertxParallelEoSStreamProcessor;
import io.vertx.core.Future;
import io.vertx.core.Promise;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.ext.web.client.HttpResponse;
import io.vertx.ext.web.client.WebClient;
import io.vertx.ext.web.client.WebClientOptions;
import java.security.GeneralSecurityException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Posts each record's value with an HMAC header, with Confluent's parallel-consumer.
 *
 * <p>Arguments: bootstrap servers, topic, group, URL, requests in flight, secret, topic for an outcome of each or `-`.
 * A job is done when its response has arrived and its outcome, if requested, is acknowledged. Runs until it is
 * killed.
 */
public final class Peer {
  private static final ThreadLocal<Mac> MACS = new ThreadLocal<>();

  public static void main(String[] args) {
    String bootstrap = args[0], topic = args[1], group = args[2], url = args[3], secret = args[5], outcomes = args[6];
    int inFlight = Integer.parseInt(args[4]);
    KafkaConsumer<byte[], byte[]> consumer =
        new KafkaConsumer<>(
            Map.of(
                "bootstrap.servers", bootstrap,
                "group.id", group,
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false),
            new ByteArrayDeserializer(),
            new ByteArrayDeserializer());
    KafkaProducer<byte[], byte[]> producer = outcomes.equals("-") ? null : producer(bootstrap);
    // As the library configures them itself, except for the client's Vert.x instance, which this class needs.
    Vertx vertx = Vertx.vertx();
    WebClientOptions pools = new WebClientOptions().setMaxPoolSize(inFlight).setKeepAlive(true);
    WebClient client = WebClient.create(vertx, pools);
    ParallelConsumerOptions<byte[], byte[]> options =
        ParallelConsumerOptions.<byte[], byte[]>builder()
            .ordering(ProcessingOrder.UNORDERED)
            .maxConcurrency(inFlight)
            .consumer(consumer)
            .build();
    VertxParallelEoSStreamProcessor<byte[], byte[]> processor =
        new VertxParallelEoSStreamProcessor<>(vertx, client, options);
    processor.subscribe(List.of(topic));
    SecretKeySpec key = new SecretKeySpec(secret.getBytes(), "HmacSHA256");
    processor.vertxFuture(
        job -> {
          Future<HttpResponse<Buffer>> response = post(client, url, job, key);
          return producer == null ? response : response.compose(done -> record(producer, outcomes, job, done));
        });
  }

  private static Future<HttpResponse<Buffer>> post(
      WebClient client, String url, PollContext<byte[], byte[]> job, SecretKeySpec key) {
    byte[] body = job.value();
    long now = System.currentTimeMillis() / 1_000;
    return client
        .postAbs(url + "/h" + job.offset() % 100)
        .putHeader("Content-Type", "application/json")
        .putHeader("X-Signature", "t=" + now + ",v1=" + hmac(key, now, body))
        .timeout(30_000)
        .sendBuffer(Buffer.buffer(body));
  }

  private static String hmac(SecretKeySpec key, long now, byte[] body) {
    try {
      Mac mac = MACS.get();
      if (mac == null) {
        mac = Mac.getInstance("HmacSHA256");
        mac.init(key);
        MACS.set(mac);
      }
      mac.update((now + ".").getBytes());
      return HexFormat.of().formatHex(mac.doFinal(body));
    } catch (GeneralSecurityException error) {
      throw new IllegalStateException(error);
    }
  }

  private static Future<Void> record(
      KafkaProducer<byte[], byte[]> producer,
      String topic,
      PollContext<byte[], byte[]> job,
      HttpResponse<Buffer> response) {
    Promise<Void> recorded = Promise.promise();
    String outcome = "{\"offset\":" + job.offset() + ",\"status\":" + response.statusCode() + ",\"state\":\"delivered\"}";
    producer.send(
        new ProducerRecord<>(topic, job.key(), outcome.getBytes()),
        (metadata, error) -> {
          if (error == null) {
            recorded.complete();
          } else {
            recorded.fail(error);
          }
        });
    return recorded.future();
  }

  private static KafkaProducer<byte[], byte[]> producer(String bootstrap) {
    return new KafkaProducer<>(
        Map.of("bootstrap.servers", bootstrap, "acks", "all", "linger.ms", 5, "compression.type", "lz4"),
        new ByteArraySerializer(),
        new ByteArraySerializer());
  }
}
