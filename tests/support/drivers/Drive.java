import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Base64;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.function.UnaryOperator;

/** Runs guides' Java: each line of standard input is a case in tab-separated base64; prints true or false for each. */
public final class Drive {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] cells = line.split("\t", -1);
            Map<String, String> given = new HashMap<>();
            for (String header : text(cells[4]).split("\n")) {
                int colon = header.indexOf(": ");
                given.put(header.substring(0, colon).toLowerCase(Locale.ROOT), header.substring(colon + 2));
            }
            UnaryOperator<String> header = name -> given.get(name.toLowerCase(Locale.ROOT));
            byte[] body = Base64.getDecoder().decode(cells[3]);
            Instant now = Instant.ofEpochSecond(Long.parseLong(text(cells[2])));
            for (Method method : Class.forName(text(cells[0]) + ".Webhooks").getMethods()) {
                if (method.getName().equals("isGenuine")) {
                    System.out.println(method.getParameterCount() == 4
                            ? method.invoke(null, header, body, text(cells[1]), now)
                            : method.invoke(null, header, body, text(cells[1])));
                }
            }
        }
    }

    private static String text(String cell) {
        return new String(Base64.getDecoder().decode(cell), StandardCharsets.UTF_8);
    }
}
