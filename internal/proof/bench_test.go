package proof_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

// TestBench: the command measures something in every scenario, loses nothing, and leaves no server.
func TestBench(t *testing.T) {
	const scenarios = "ceiling single batch fan-out latency"
	t.Run("sqlite", func(t *testing.T) { bench(t, scenarios) })
	t.Run("nodes", func(t *testing.T) {
		if !postgrestest.Installed() {
			t.Skip(postgrestest.ErrMissing)
		}
		bench(t, scenarios+" "+scenarios+" across", "--store", "postgres", "--nodes", "1,2", "--companies", "4")
	})
}

func bench(t *testing.T, scenarios string, args ...string) {
	cmd := exec.CommandContext(t.Context(), binary(t), append([]string{"bench", "--duration", "300ms", "--rounds", "1", "--quiet", "--output", "json"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		var r struct {
			Scenario         string
			PerSecond        float64 `json:"deliveries_per_second"`
			Lost, Duplicates int64
			RSS              int64 `json:"rss_bytes"`
		}
		decode(t, []byte(line), &r)
		names = append(names, r.Scenario)
		if r.PerSecond <= 0 || r.Lost+r.Duplicates != 0 || r.RSS == 0 != (r.Scenario == "ceiling") {
			t.Errorf("%s", line)
		}
	}
	if got := strings.Join(names, " "); got != scenarios {
		t.Error(got)
	}
}
