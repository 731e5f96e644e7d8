package wire_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// published are documents as they arrive: one of the catalogue's, one without a letter outside
// ASCII, and a large one in which every string has some.
func published(b *testing.B) map[string][]byte {
	b.Helper()
	topic, _ := hook.LookupTopic("customer")
	row := `{"id": "c_%d", "name": "José Álvarez", "note": "` + strings.Repeat("nothing but plain text ", 8) + `"},`
	var large strings.Builder
	for i := range 500 {
		fmt.Fprintf(&large, row, i)
	}
	return map[string][]byte{
		"sample": []byte(topic.Sample),
		"ascii":  []byte(`{"id":"conv_1","status":"CLOSED","text":"` + strings.Repeat("nothing but plain text ", 40) + `"}`),
		"large":  []byte(`{"rows": [` + strings.TrimSuffix(large.String(), ",") + `]}`),
	}
}

func BenchmarkParse(b *testing.B) {
	for name, document := range published(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(document)))
			b.ReportAllocs()
			for b.Loop() {
				doc, err := wire.Parse(document)
				if err != nil {
					b.Fatal(err)
				}
				doc.ID()
			}
		})
	}
}

func BenchmarkBody(b *testing.B) {
	for name, document := range published(b) {
		data, err := wire.Escape(document)
		if err != nil {
			b.Fatal(err)
		}
		for _, format := range []hook.DataFormat{hook.DataString, hook.DataObject} {
			b.Run(name+"/"+string(format), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					wire.Body("customer", data, format)
				}
			})
		}
	}
}

// BenchmarkHeader is the work of one attempt beside the body: timestamp, two signatures, headers.
func BenchmarkHeader(b *testing.B) {
	for _, scheme := range []hook.SignatureScheme{hook.SchemeHex, hook.SchemeBase64, hook.SchemePythonDict} {
		b.Run(string(scheme), func(b *testing.B) {
			r := example()
			r.Scheme = scheme
			b.ReportAllocs()
			var text []byte
			for b.Loop() {
				r.Timestamp = wire.Timestamp(time.Unix(1732363200, 123000000))
				var err error
				if text, err = r.AppendHeader(text[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
