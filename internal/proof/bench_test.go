package proof_test

import (
	"os/exec"
	"strconv"
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

// TestBenchCrowd: quiet companies are measured, on both stores and beside another build, nothing of theirs
// is lost, and they cost nothing much (the whole size is the other build tag's).
func TestBenchCrowd(t *testing.T) {
	for _, store := range []string{"sqlite", "postgres"} {
		t.Run(store, func(t *testing.T) {
			if store == "postgres" && !postgrestest.Installed() {
				t.Skip(postgrestest.ErrMissing)
			}
			args := []string{"bench", "--crowd", strconv.Itoa(crowdOf), "--rest", crowdRest, "--watch", crowdWatch, "--store", store, "--quiet", "--output", "json"}
			if crowdOf < 1000 && store == "sqlite" {
				args = append(args, "--against", binary(t))
			}
			cmd := exec.CommandContext(t.Context(), binary(t), args...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, &stderr)
			}
			t.Logf("%s", out)
			for line := range strings.Lines(string(out)) {
				var r struct {
					Companies int
					One       float64 `json:"publish_p99_ms_one_of_them"`
					Many      float64 `json:"publish_p99_ms"`
					CPU       float64 `json:"idle_cpu_percent_of_a_core"`
					Busy      float64 `json:"longest_work_at_rest_s"`
					RSS       int64   `json:"rss_bytes"`
					Ready     float64 `json:"ready_s"`
					Lost      int64
				}
				decode(t, []byte(line), &r)
				if r.Companies != crowdOf || r.Lost != 0 || r.One <= 0 || r.Many <= 0 || r.Ready <= 0 || r.RSS > 200<<20 {
					t.Errorf("%s", line)
				}
				if crowdOf >= 100_000 && (r.CPU > 1 || r.Ready > 5 || r.Busy > 5 || r.Many > 1.5*r.One) {
					t.Errorf("beyond its bounds: %s", line)
				}
			}
		})
	}
}
