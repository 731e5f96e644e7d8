package app_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestArchitectureNamesFunctions: the functions that ARCHITECTURE.md leads an event through are there.
func TestArchitectureNamesFunctions(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, way, _ := strings.Cut(string(text), "\n## One event, function by function\n")
	way, _, _ = strings.Cut(way, "\n## ")
	named := regexp.MustCompile("`([a-z]+\\.[A-Za-z.]+)`").FindAllStringSubmatch(way, -1)
	if len(named) < 12 {
		t.Fatalf("only %d functions are named", len(named))
	}
	declared := functions(t, "..")
	for _, n := range named {
		if !slices.Contains(declared, n[1]) {
			t.Errorf("ARCHITECTURE.md names %s, which is not there", n[1])
		}
	}
	if slices.Contains(declared, "deliver.core.nothing") { // the control
		t.Error("a function was found that is not there")
	}
}

// functions are those that packages below a directory declare: package.Type.Method, package.Func.
func functions(t *testing.T, root string) (list []string) {
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				list = append(list, f.Name.Name+"."+receiver(fn)+fn.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	of := fn.Recv.List[0].Type
	if p, ok := of.(*ast.StarExpr); ok {
		of = p.X
	}
	if g, ok := of.(*ast.IndexExpr); ok {
		of = g.X
	}
	return of.(*ast.Ident).Name + "."
}
