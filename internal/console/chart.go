package console

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// slots spreads the buckets of figures over their window: one for each bucket, empty ones too.
func slots(s *client.Stats) []client.Bucket {
	if s == nil || s.BucketSeconds <= 0 {
		return nil
	}
	width := time.Duration(s.BucketSeconds) * time.Second
	n := min(int((s.To.Sub(s.From)+width-1)/width), 1000)
	all := make([]client.Bucket, max(n, 0))
	for i := range all {
		all[i].At = s.From.Add(time.Duration(i) * width)
	}
	for _, b := range s.Data {
		if i := int(b.At.Sub(s.From) / width); i >= 0 && i < len(all) {
			all[i] = b
		}
	}
	return all
}

// spark is a webhook's figures in the height of a line: delivered and failed attempts by time. The
// numbers are ours, so that nothing needs escaping.
func spark(s *client.Stats) template.HTML {
	const bins, width, height = 48, 120, 24
	good, bad := make([]int64, bins), make([]int64, bins)
	all := slots(s)
	for i, b := range all {
		bin := i * bins / len(all)
		good[bin] += b.Delivered
		bad[bin] += b.Failed + b.Retried
	}
	var top int64 = 1
	for i := range good {
		top = max(top, good[i]+bad[i])
	}
	var b strings.Builder
	label := "Nothing in the last 24 hours"
	if s != nil && s.Total.Delivered+s.Total.Failed+s.Total.Retried > 0 {
		label = fmt.Sprintf("Last 24 hours: %d delivered, %d attempts failed", s.Total.Delivered, s.Total.Failed+s.Total.Retried)
	}
	fmt.Fprintf(&b, `<svg class="spark" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s" preserveAspectRatio="none">`, width, height, width, height, label)
	fmt.Fprintf(&b, `<rect class="spark-base" x="0" y="%d" width="%d" height="1"/>`, height-1, width)
	const step = float64(width) / bins
	for i := range good {
		g, r := float64(good[i])/float64(top)*(height-2), float64(bad[i])/float64(top)*(height-2)
		if good[i] > 0 {
			g = max(g, 1.5)
			fmt.Fprintf(&b, `<rect class="spark-good" x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, float64(i)*step, height-g, step-0.6, g)
		}
		if bad[i] > 0 {
			r = max(r, 1.5)
			fmt.Fprintf(&b, `<rect class="spark-bad" x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, float64(i)*step, max(0, height-g-r), step-0.6, r)
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers and words of ours
}

// bars is the chart that stands where a moving one will: the same figures, the same height.
func bars(s *client.Stats) template.HTML {
	all := slots(s)
	if len(all) == 0 {
		return ""
	}
	const width, height = 960, 200
	var top int64 = 1
	for _, b := range all {
		top = max(top, b.Delivered+b.Failed+b.Retried)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg class="bars" viewBox="0 0 %d %d" role="img" aria-label="%d delivered, %d failed, %d attempts retried" preserveAspectRatio="none">`,
		width, height, s.Total.Delivered, s.Total.Failed, s.Total.Retried)
	step := float64(width) / float64(len(all))
	for i, b := range all {
		y := float64(height)
		for _, part := range []struct {
			n     int64
			class string
		}{{b.Delivered, "spark-good"}, {b.Retried, "spark-warn"}, {b.Failed, "spark-bad"}} {
			if part.n == 0 {
				continue
			}
			h := float64(part.n) / float64(top) * (height - 8)
			y -= h
			fmt.Fprintf(&out, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, part.class, float64(i)*step, y, max(step-1, 0.5), h)
		}
	}
	out.WriteString(`</svg>`)
	return template.HTML(out.String()) //nolint:gosec // numbers of ours
}

// sparkOf takes figures as templates have them, by value or by pointer.
func sparkOf(s any) template.HTML {
	switch s := s.(type) {
	case *client.Stats:
		return spark(s)
	case client.Stats:
		return spark(&s)
	}
	return spark(nil)
}
