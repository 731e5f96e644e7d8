package console_test

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

var (
	pictures = flag.String("pictures", "", "a directory: take a picture of every screen, in both themes and three widths")
	only     = flag.String("screens", "", "with -pictures: only those whose names match this, as webhooks-390-dark")
	update   = flag.Bool("update", false, "take the pictures in docs/images anew")
)

// stage is a company whose webhooks have something to show: one that works, one that stumbles, one
// that is down, one that was paused; and a secret that is about to change.
type stage struct {
	*world
	stumbling, down, paused, waiting string
	failed                           string // event that the stumbling one refused
	empty                            *apptest.Server
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{world: &world{Server: apptest.Start(t)}, empty: apptest.Start(t)}
	n := 0
	s.receiver = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasPrefix(r.URL.Path, "/warehouse"):
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, `{"error": "upstream connect error or disconnect/reset before headers"}`)
		case strings.HasPrefix(r.URL.Path, "/billing"):
			if n++; n%5 == 3 {
				w.WriteHeader(http.StatusUnprocessableEntity)
				fmt.Fprint(w, `{"error": "no invoice for this customer", "customer": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e"}`)
				return
			}
			fmt.Fprint(w, `{"received": true}`)
		default:
			fmt.Fprint(w, `{"received": true, "ticket": 4711}`)
		}
	}))
	t.Cleanup(s.receiver.Close)
	hook := func(path, description string, more map[string]any) string {
		more["endpoint"], more["description"] = s.receiver.URL+path, description
		if more["events"] == nil {
			more["events"] = []string{"*"}
		}
		return call(t, s.Server, "POST", "/v1/webhooks", more)["id"].(string)
	}
	s.good = hook("/helpdesk", "Opens a ticket for every conversation", map[string]any{})
	s.stumbling = hook("/billing/hooks", "Billing, team blue", map[string]any{"events": []string{"customer.*", "customer", "account.customer.linked"}, "retry_schedule_seconds": []int{}})
	s.down = hook("/warehouse/v2/atlas?tenant=northwind", "", map[string]any{"events": []string{"conversation.*", "customer.created"}, "filter": `data.status != "SPAM"`, "retry_schedule_seconds": []int{1, 2, 5, 3600}})
	s.paused = hook("/staging", "Staging", map[string]any{"events": []string{"conversation"}, "status": "PAUSED"})
	s.waiting = hook("/crm/a-path-that-is-rather-long/because-somebody-wanted-it-so/and-nobody-said-no/0f8fad5b-d9cb-469f-a165-70867728950e", "CRM", map[string]any{"events": []string{"customer_notes", "customer_notes.deleted"}})
	s.bad = s.down
	call(t, s.Server, "POST", "/v1/webhooks/"+s.waiting+"/secret/rotate", map[string]any{})
	call(t, s.Server, "POST", "/v1/companies/c1/keys", map[string]any{"name": "Reporting", "scope": "read"})
	call(t, s.Server, "POST", "/v1/companies/c1/console-links", map[string]any{"read_only": true})
	s.play(t, 40*time.Second)
	list := call(t, s.Server, "GET", "/v1/webhooks/"+s.stumbling+"/deliveries?status=failed", nil)["data"].([]any)
	if len(list) == 0 {
		t.Fatal("nothing failed")
	}
	s.failed = list[0].(map[string]any)["event_id"].(string)
	return s
}

// play publishes samples of all topics for some time.
func (s *stage) play(t *testing.T, d time.Duration) {
	t.Helper()
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	topics := hook.Topics()
	for n, end := 0, time.Now().Add(d); time.Now().Before(end); n++ {
		topic := topics[n%len(topics)]
		s.event = call(t, s.Server, "POST", "/v1/events", map[string]any{
			"company_id": "c1", "event": topic.Name, "data": rawJSON(topic.Sample), "object_id": fmt.Sprintf("%s-%d", strings.ToLower(topic.Category), n/len(topics)%20),
		})["id"].(string)
		<-tick.C
	}
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// screen is one picture: what to open, and what to do there first.
type screen struct {
	name, path string
	first      func(b *tab)
}

func (s *stage) screens() []screen {
	hook := func(id string, below ...string) string { return "/console/webhooks/" + id + strings.Join(below, "") }
	opens := func(selector string) func(b *tab) {
		return func(b *tab) {
			b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector(%q).click()`, selector)))
		}
	}
	return []screen{
		{"overview", "/console/?window=1h", nil},
		{"overview-7d", "/console/?window=7d", nil},
		{"webhooks", "/console/webhooks", nil},
		{"webhooks-selected", "/console/webhooks", opens("tbody input[type=checkbox]")},
		{"webhooks-none", "/console/webhooks?q=nothing", nil},
		{"new", "/console/webhooks/new?endpoint=" + s.receiver.URL + "/crm/new", func(b *tab) { b.see("#check", "A connection") }},
		{"new-advanced", "/console/webhooks/new?endpoint=http://169.254.169.254/latest", func(b *tab) { b.see("#check", "169.254"); opens("details.more summary")(b) }},
		{"new-filter", "/console/webhooks/new", func(b *tab) { b.write("#filter", `data.status == "CLOSED"`); b.see("#preview", "match") }},
		{"new-refused", "/console/webhooks/new?endpoint=ftp://example.com", func(b *tab) {
			b.set("#headers", "no colon")
			b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("input[value='*']").click(); document.querySelector("form.form .btn.primary").click()`))
			b.see("main", "Nothing was saved")
		}},
		{"created", "/console/webhooks/new?topic=conversation", func(b *tab) {
			b.set("#endpoint", fmt.Sprintf("%s/made/%d", s.receiver.URL, time.Now().UnixNano()))
			opens("form.form .btn.primary")(b)
			b.see("h1", "It is subscribed")
		}},
		{"webhook-good", hook(s.good, "?window=1h"), nil},
		{"webhook-down", hook(s.down, "?window=1h"), nil},
		{"webhook-stumbling", hook(s.stumbling, "?window=1h"), nil},
		{"webhook-paused", hook(s.paused), nil},
		{"webhook-resume", hook(s.paused), opens("[data-opens=resume]")},
		{"webhook-deliveries", hook(s.stumbling, "/deliveries"), nil},
		{"webhook-deliveries-failed", hook(s.stumbling, "/deliveries?status=failed"), opens("tbody input[type=checkbox]")},
		{"webhook-deliveries-down", hook(s.down, "/deliveries"), nil},
		{"webhook-test", hook(s.good, "/test"), func(b *tab) {
			eventually(b, func() error { // one a second
				opens("form[action$='/test'] .btn.primary")(b)
				<-time.After(500 * time.Millisecond)
				if text := eval[string](b, `document.getElementById("result").innerText`); !strings.Contains(text, "200") {
					return errors.New(text)
				}
				return nil
			})
		}},
		{"webhook-secret", hook(s.good, "/secret"), nil},
		{"webhook-secret-shown", hook(s.waiting, "/secret"), func(b *tab) { opens("form[action$='/reveal'] .btn")(b); b.see("#secret-part", "whsec_") }},
		{"webhook-secret-rotate", hook(s.good, "/secret"), opens("[data-opens=rotate]")},
		{"webhook-settings", hook(s.down, "/settings"), nil},
		{"webhook-delete", hook(s.down, "/settings"), opens("[data-opens=delete]")},
		{"webhook-activity", hook(s.waiting, "/activity"), nil},
		{"deliveries", "/console/deliveries", nil},
		{"delivery-failed", hook(s.stumbling, "/deliveries/", s.failed), nil},
		{"delivery-good", hook(s.good, "/deliveries/", s.failed), nil},
		{"events", "/console/events", nil},
		{"event", "/console/events/" + s.failed, nil},
		{"topics", "/console/topics", opens("details.topic summary")},
		{"replays", "/console/replays?webhook=" + s.stumbling, func(b *tab) { opens("button[name=ago][value='1h']")(b); b.see("#extent", "deliveries") }},
		{"replay-runs", "/console/replays?webhook=" + s.good, func(b *tab) {
			if !strings.Contains(eval[string](b, `document.querySelector("main").innerText`), "Running now") {
				b.set("#rate", "1")
				b.do(chromedp.Evaluate[chromedp.Void](`document.getElementById("only").value = "all"; document.querySelector("button[name=ago][value='1h']").click()`))
				b.see("#extent", "deliveries")
				opens("#extent .btn.primary")(b)
				b.see("main", "Running now")
			}
		}},
		{"key-made", "/console/keys", func(b *tab) {
			b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("form[action='/console/keys']").submit()`))
			b.see("main", "shown this once")
		}},
		{"keys", "/console/keys", nil},
		{"keys-new", "/console/keys", opens("[data-opens=make-key]")},
		{"audit", "/console/audit", nil},
		{"palette", "/console/", func(b *tab) { b.press("k", chromedp.Modifier(2)); b.see("#palette", "billing") }},
		{"shortcuts", "/console/", func(b *tab) { b.press("?"); b.see("#shortcuts", "Keyboard") }},
		{"menu", "/console/", opens("[popovertarget=side]")},
		{"nothing", "/console/nothing", nil},
		{"companies", "/console/companies", nil},
		{"system", "/console/system", nil},
		{"sign-in", "/console/sign-in", nil},
		{"enter", "/console/enter", nil},
	}
}

// TestPictures takes pictures of a real run: with -pictures of every screen, to look at, and with
// -update those that the documents show.
func TestPictures(t *testing.T) {
	if *pictures == "" && !*update {
		t.Skip("takes pictures: -pictures DIR, or -update for those in docs/images")
	}
	s := newStage(t)
	b := openTab(t)
	b.base = s.URL
	b.open("/console/sign-in")
	b.write("#key", s.Key+"\r")
	b.see("h1", "Companies")
	b.write("#company", "c1\r")
	b.see("h1", "Overview")
	if *update {
		company := openTab(t)
		company.enter(s.Server)
		s.illustrate(company)
	}
	if *pictures == "" {
		return
	}
	if err := os.MkdirAll(*pictures, 0o755); err != nil {
		t.Fatal(err)
	}
	wanted := regexp.MustCompile(*only)
	take := func(b *tab, shot screen) {
		for _, width := range []int64{390, 1024, 1440} {
			opened := false
			for _, theme := range []string{"light", "dark"} {
				name := fmt.Sprintf("%s-%d-%s", shot.name, width, theme)
				if !wanted.MatchString(name) {
					continue
				}
				if !opened {
					opened = true
					b.size(width)
					b.open(shot.path)
					b.still()
					if shot.first != nil {
						shot.first(b)
					}
				}
				b.theme(theme)
				b.still()
				b.save(filepath.Join(*pictures, name+".png"), b.picture(true))
			}
		}
	}
	for _, shot := range s.screens() {
		take(b, shot)
	}
	fresh := openTab(t)
	fresh.enter(s.empty)
	for _, name := range []string{"", "webhooks", "deliveries", "events", "replays", "keys", "audit"} {
		take(fresh, screen{"empty-" + cmp.Or(name, "overview"), "/console/" + name, nil})
	}
}

// illustrate takes the pictures of the documents.
func (s *stage) illustrate(b *tab) {
	for _, p := range []struct {
		name, path, theme string
		width, height     int64
		first             func(b *tab)
	}{
		{"console-overview", "/console/?window=1h", "light", 1280, 860, nil},
		{"console-webhooks", "/console/webhooks", "light", 1280, 640, nil},
		{"console-webhook-dark", "/console/webhooks/" + s.down + "?window=1h", "dark", 1280, 860, nil},
		{"console-test", "/console/webhooks/" + s.good + "/test", "light", 1280, 860, func(b *tab) {
			b.click("form[action$='/test'] .btn.primary")
			b.see("#result", "200")
		}},
		{"delivery", "/console/webhooks/" + s.stumbling + "/deliveries/" + s.failed, "light", 1280, 900, nil},
		{"console-phone", "/console/webhooks", "light", 390, 844, nil},
	} {
		b.theme(p.theme)
		b.do(chromedp.EmulateViewport(p.width, p.height))
		b.open(p.path)
		b.still()
		if p.first != nil {
			p.first(b)
			b.still()
		}
		b.save(filepath.Join("..", "..", "docs", "images", p.name+".png"), b.picture(false))
	}
	b.theme("light")
}

// still waits until nothing is loaded any more and every chart is drawn.
func (b *tab) still() {
	b.Helper()
	eval[bool](b, `new Promise((done) => {
		const ready = () => document.readyState === "complete" && !document.querySelector(".htmx-request") && [...document.querySelectorAll("time-chart")].every((c) => c.querySelector("canvas"));
		const look = (n) => ready() || n > 100 ? requestAnimationFrame(() => requestAnimationFrame(() => done(true))) : setTimeout(look, 30, n + 1);
		look(0);
	})`)
}

// picture is what the tab shows, or the whole page.
func (b *tab) picture(whole bool) []byte {
	b.Helper()
	shot := chromedp.CaptureScreenshot()
	if whole {
		shot = chromedp.FullScreenshot(100)
	}
	body, err := chromedp.Run(b.ctx, shot)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

// save writes a picture small: with the 256 colours that tell most of it.
func (b *tab) save(path string, picture []byte) {
	b.Helper()
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, paletted(img)); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
}

// paletted takes the commonest colours that are not much like one taken before, and gives every other
// one the nearest of them.
func paletted(img image.Image) *image.Paletted {
	count := map[color.RGBA]int{}
	bounds := img.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(img.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	byCount := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		if count[a] != count[b] {
			return count[b] - count[a]
		}
		return cmp.Compare(uint32(a.R)<<16|uint32(a.G)<<8|uint32(a.B), uint32(b.R)<<16|uint32(b.G)<<8|uint32(b.B))
	})
	var chosen color.Palette
	for _, distance := range []int{10, 6, 3, 0} {
		for _, c := range byCount {
			if len(chosen) < 256 && !slices.ContainsFunc(chosen, func(d color.Color) bool { return like(c, d.(color.RGBA), distance) }) {
				chosen = append(chosen, c)
			}
		}
	}
	out := image.NewPaletted(bounds, chosen)
	index := map[color.RGBA]uint8{}
	for c := range count {
		index[c] = uint8(chosen.Index(c))
	}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			out.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	return out
}

// like reports whether no part of two colours differs by more than a distance.
func like(a, b color.RGBA, distance int) bool {
	part := func(x, y uint8) bool { return max(int(x)-int(y), int(y)-int(x)) <= distance }
	return part(a.R, b.R) && part(a.G, b.G) && part(a.B, b.B)
}
