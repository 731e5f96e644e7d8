package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTypeScriptIsStrict: the snippets compile where their readers' compilers are at their strictest, which
// Node.js, which takes types off, does not show. The compiler is the one of sdk/typescript.
func TestTypeScriptIsStrict(t *testing.T) {
	modules, err := filepath.Abs("../sdk/typescript/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	compiler := filepath.Join(modules, ".bin", "tsc")
	if _, err := os.Stat(compiler); err != nil {
		t.Skip("no TypeScript; 'make sdk-typescript' installs it where there is npm: the snippets' types are not tested")
	}
	compile := func(snippet string) (string, error) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "verify.ts"), []byte(snippet), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), compiler, "--noEmit", "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--noImplicitReturns",
			"--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--types", "node", "verify.ts")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, page := range []string{"verify.md", "../README.md"} {
		for _, b := range blocks(read(t, page)) {
			if b.info != "ts" {
				continue
			}
			if out, err := compile(b.text); err != nil {
				t.Errorf("%s, line %d: %v\n%s", page, b.line, err, out)
			}
			if out, err := compile(strings.Replace(b.text, "name: string", "name", 1)); err == nil || !strings.Contains(out, "implicitly") {
				t.Errorf("control: a parameter without a type: %v\n%s", err, out)
			}
		}
	}
}
