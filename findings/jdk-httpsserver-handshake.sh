#!/usr/bin/env bash
# Guess: a TLS server that cannot agree with a client says so with an alert (handshake_failure,
#   protocol_version) before it closes; in Java all the more, whose engine makes the alert by itself.
# Truth (OpenJDK 17.0.15): com.sun.net.httpserver.HttpsServer closes the connection without a byte, for a suite
#   that does not fit its certificate as for an old version of TLS. An SSLServerSocket on the same SSLContext in
#   the same program sends both alerts; in Java 25.0.3 HttpsServer sends them too.
# Why users care: many small receivers stand on HttpsServer. Their wrong certificate or version looks to a sender
#   like a connection cut on the way, which one retries, and not like a setting, which somebody must change:
#   "EOF while the handshake ran" at each attempt is a handshake refused, until the contrary is shown.
set -euo pipefail
java() { "$(ls -d /usr/lib/jvm/java-17-openjdk-*/bin/java | head -1)" "$@"; }
{ ls -d /usr/lib/jvm/java-17-openjdk-*/bin/javac && command -v openssl; } >/dev/null 2>&1 ||
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jdk-headless openssl >/dev/null; }
dir=$(mktemp -d); trap '[ -z "${server:-}" ] || kill "$server" || true; rm -rf "$dir"' EXIT
cd "$dir"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 -subj /CN=localhost 2>/dev/null
openssl pkcs12 -export -in cert -inkey key -out p12 -passout pass:only-a-test
cat >Two.java <<'JAVA'
import com.sun.net.httpserver.*;
import java.io.*;
import java.net.*;
import java.security.*;
import javax.net.ssl.*;

public class Two {
    public static void main(String[] args) throws Exception {
        char[] password = "only-a-test".toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream in = new FileInputStream("p12")) { store.load(in, password); }
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        InetAddress loopback = InetAddress.getByName("127.0.0.1");
        HttpsServer https = HttpsServer.create(new InetSocketAddress(loopback, 0), 0);
        https.setHttpsConfigurator(new HttpsConfigurator(context));
        https.createContext("/", e -> { e.sendResponseHeaders(204, -1); e.close(); });
        https.start();
        ServerSocket plain = context.getServerSocketFactory().createServerSocket(0, 50, loopback);
        System.out.println(https.getAddress().getPort() + " " + plain.getLocalPort());
        while (true) {
            try (SSLSocket s = (SSLSocket) plain.accept()) { s.startHandshake(); } catch (IOException expected) { }
        }
    }
}
JAVA
java -version 2>&1 | sed -n 1p
java Two.java >ports 2>log & server=$!
for _ in $(seq 300); do [ -s ports ] && break; sleep 0.1; done
read -r https plain <ports
try() { { openssl s_client -connect "127.0.0.1:$1" "${@:2}" </dev/null 2>&1 || true; } | grep -oE 'alert [a-z ]+|unexpected eof|Cipher is [A-Z0-9_-]+' | head -1; }
suite=(-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256); old=(-tls1_1 -cipher ALL:@SECLEVEL=0)
fine=$(try "$https"); a=$(try "$https" "${suite[@]}"); b=$(try "$https" "${old[@]}"); c=$(try "$plain" "${suite[@]}"); d=$(try "$plain" "${old[@]}")
echo "HttpsServer, all that a client has: $fine"
echo "HttpsServer: only suites for RSA: $a; only TLS 1.1: $b"
echo "SSLServerSocket: only suites for RSA: $c; only TLS 1.1: $d"
[[ $fine == "Cipher is TLS"* && $a == "unexpected eof" && $b == "unexpected eof" && $c == *"handshake failure"* && $d == *"protocol version"* ]]
