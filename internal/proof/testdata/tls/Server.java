// The sites of TestTLSStacks on the JDK's own HTTPS server. Each argument is one of them:
// port|chain|key|root|version|suites|client|strict|alpn|plain.
import com.sun.net.httpserver.*;
import java.io.*;
import java.net.InetSocketAddress;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.*;
import java.util.concurrent.Executors;
import javax.net.ssl.*;

class Server {
    public static void main(String[] sites) throws Exception {
        Security.setProperty("jdk.tls.disabledAlgorithms", "");
        Security.setProperty("jdk.certpath.disabledAlgorithms", "");
        for (String site : sites) serve(site.split("\\|", -1));
    }

    static void serve(String[] s) throws Exception {
        InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(s[0]));
        HttpServer server = s[9].isEmpty() ? secure(address, s) : HttpServer.create(address, 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", x -> {
            x.getRequestBody().readAllBytes();
            x.sendResponseHeaders(204, -1);
            x.close();
        });
        server.start();
    }

    static HttpServer secure(InetSocketAddress address, String[] s) throws Exception {
        KeyStore own = KeyStore.getInstance("PKCS12"), known = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        known.load(null, null);
        known.setCertificateEntry("root", read(s[3])[0]);
        String pem = Files.readString(Path.of(s[2])).replaceAll("-----[A-Z ]+-----|\\s", "");
        PrivateKey key = KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
        own.setKeyEntry("key", key, new char[0], read(s[1]));
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(own, new char[0]);
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(known);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        HttpsServer server = HttpsServer.create(address, 0);
        server.setHttpsConfigurator(new HttpsConfigurator(context) {
            public void configure(HttpsParameters p) {
                SSLParameters set = context.getDefaultSSLParameters();
                if (!s[4].isEmpty()) set.setProtocols(new String[] {s[4]});
                if (!s[5].isEmpty()) set.setCipherSuites(s[5].split(":"));
                if (s[6].equals("demands")) set.setNeedClientAuth(true);
                if (s[6].equals("asks")) set.setWantClientAuth(true);
                if (!s[7].isEmpty()) set.setSNIMatchers(List.of(SNIHostName.createSNIMatcher("other\\.example")));
                if (!s[8].isEmpty()) set.setApplicationProtocols(new String[] {s[8]});
                p.setSSLParameters(set);
            }
        });
        return server;
    }

    static java.security.cert.Certificate[] read(String path) throws Exception {
        try (InputStream in = new FileInputStream(path)) {
            return CertificateFactory.getInstance("X.509").generateCertificates(in).toArray(new java.security.cert.Certificate[0]);
        }
    }
}
