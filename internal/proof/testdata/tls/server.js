// The sites of TestTLSStacks on Node: the argument is a file with a list of them.
const fs = require("fs"), http = require("http"), https = require("https");
for (const s of JSON.parse(fs.readFileSync(process.argv[2]))) {
  const answer = (request, response) => request.on("data", () => {}).on("end", () => response.end("ok"));
  if (s.Plain) {
    http.createServer(answer).listen(s.Port, "127.0.0.1");
    continue;
  }
  const options = {
    cert: fs.readFileSync(s.Cert), key: fs.readFileSync(s.Key), ca: fs.readFileSync(s.Root), dhparam: "auto",
    minVersion: s.Version || "TLSv1.2", maxVersion: s.Version || "TLSv1.3", ciphers: (s.Suites || "DEFAULT") + ":@SECLEVEL=0",
    requestCert: s.Client !== "", rejectUnauthorized: s.Client === "demands",
  };
  if (s.ALPN) options.ALPNProtocols = [s.ALPN];
  if (s.Strict) options.SNICallback = (name, done) => done(new Error("no site " + name));
  https.createServer(options, answer).listen(s.Port, "127.0.0.1");
}
