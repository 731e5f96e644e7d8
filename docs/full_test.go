//go:build full

package docs_test

import "testing"

// TestSnippetInRust is long, since the crates are compiled.
func TestSnippetInRust(t *testing.T) {
	program{
		language: "rust", file: "main.rs", lines: true, commands: [][]string{{"cargo", "run", "--quiet"}},
		beside: map[string]string{"Cargo.toml": `
[package]
name = "verify"
version = "0.0.0"
edition = "2021"

[[bin]]
name = "verify"
path = "main.rs"

[dependencies]
hex = "=0.4.3"
hmac = "=0.13.0"
http = "=1.5.0"
sha2 = "=0.11.1"

[workspace]
`},
		text: snippet(t, "verify.md", "rust") + `
fn main() {
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let f: Vec<&str> = line.split(' ').collect();
        let decode = |n: usize| base64(f[n]);
        let mut headers = HeaderMap::new();
        for (name, n) in [("x-atlas-webhook-signature-timestamp", 1), ("x-atlas-webhook-signature", 2)] {
            if f[n] != "-" {
                headers.insert(name, http::HeaderValue::from_bytes(&decode(n)).unwrap());
            }
        }
        let secret = String::from_utf8(decode(0)).unwrap();
        assert_eq!(verify(&secret, &headers, &decode(3)).to_string(), f[4], "{line}");
    }
    println!("fine");
}

fn base64(text: &str) -> Vec<u8> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut n, mut out) = (0u32, 0, Vec::new());
    for c in text.chars().filter(|c| *c != '=') {
        bits = bits << 6 | alphabet.find(c).unwrap() as u32;
        n += 6;
        if n >= 8 {
            n -= 8;
            out.push((bits >> n & 255) as u8);
        }
    }
    out
}
`,
	}.run(t, deliver(t, hostile))
}
