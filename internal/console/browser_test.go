package console_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// tab is a tab of a real browser, in which somebody is signed in.
type tab struct {
	*testing.T
	ctx  context.Context
	base string

	mu     sync.Mutex
	errors []string // that the page wrote to its console: among them what the policy refused
}

// startBrowser starts one; it is there with the first tab.
func startBrowser(flags ...chromedp.ExecAllocatorOption) (ctx context.Context, end func()) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun)
	for _, flag := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, closeBrowser := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	ctx, closeTab := chromedp.NewContext(ctx)
	return ctx, func() { closeTab(); closeBrowser() }
}

// shared is the browser of all tests that want nothing special of it; endShared ends it, if it was started.
var (
	endShared = func() {}
	shared    = sync.OnceValues(func() (context.Context, error) {
		ctx, end := startBrowser()
		endShared = end
		return ctx, chromedp.Do(ctx, chromedp.Navigate("about:blank"))
	})
)

// openTab opens a tab that has cookies and storage of its own; with flags in a browser of its own. Without
// a browser the test is skipped; `make browser` installs it.
func openTab(t *testing.T, flags ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("chromium is not installed: make browser")
	}
	if testing.Short() {
		t.Skip("starts a browser")
	}
	var ctx context.Context
	var end context.CancelFunc
	if len(flags) > 0 {
		ctx, end = startBrowser(flags...)
	} else {
		browser, err := shared()
		if err != nil {
			t.Fatal(err)
		}
		ctx, end = chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	}
	t.Cleanup(end)
	b := &tab{T: t, ctx: ctx}
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	go func() {
		for m, err := range chromedp.Console(ctx) {
			if err != nil {
				return
			}
			if m.Type == "error" || m.Type == chromedp.ConsoleException {
				b.mu.Lock()
				b.errors = append(b.errors, m.Text)
				b.mu.Unlock()
			}
		}
	}()
	b.size(1440)
	return b
}

// enter opens a one-time link, as whoever got one does.
func (b *tab) enter(s *apptest.Server) {
	b.Helper()
	b.base = s.URL
	b.do(chromedp.Navigate(call(b, s, "POST", "/v1/companies/c1/console-links", map[string]any{})["url"].(string)))
	b.see(".frame", "Overview")
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 40*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Fatalf("%v, on %s: %s", err, b.at(), eval[string](b, `document.body.innerText.slice(0, 1500)`))
	}
}

func (b *tab) open(path string) {
	b.Helper()
	eventually(b, func() error {
		ctx, cancel := context.WithTimeout(b.ctx, 40*time.Second)
		defer cancel()
		err := chromedp.Do(ctx, chromedp.Navigate(b.base+path))
		if err != nil && !strings.Contains(err.Error(), "net::ERR_ABORTED") { // by a form that still went somewhere
			b.Fatal(err)
		}
		return err
	})
}

func (b *tab) click(selector string) {
	b.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

func (b *tab) write(selector, text string) {
	b.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}

// press sends keys to whatever has the focus.
func (b *tab) press(keys string, modifiers ...chromedp.Modifier) {
	b.Helper()
	b.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

// see waits until an element says something.
func (b *tab) see(selector, text string) {
	b.Helper()
	eventually(b, func() error {
		got := eval[string](b, fmt.Sprintf(`[...document.querySelectorAll(%q)].map((e) => e.innerText).join("\n")`, selector))
		if !strings.Contains(got, text) {
			return fmt.Errorf("%s says %q, want %q, on %s", selector, got[:min(len(got), 800)], text, b.at())
		}
		return nil
	})
}

// arrive waits for an address.
func (b *tab) arrive(part string) {
	b.Helper()
	eventually(b, func() error {
		if at := b.at(); !strings.Contains(at, part) {
			return fmt.Errorf("at %s, want %s", at, part)
		}
		return nil
	})
}

func (b *tab) at() string { return eval[string](b, `location.pathname + location.search`) }

func (b *tab) size(width int64) {
	b.Helper()
	b.do(chromedp.EmulateViewport(width, 900))
}

func (b *tab) theme(name string) {
	b.Helper()
	b.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return err
	}))
}

// calm fails when the pages wrote errors to the console. That a page broke off a question of its own, for
// one that is newer, is none; htmx says it in two lines.
func (b *tab) calm() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, e := range b.errors {
		after := strings.HasPrefix(e, "htmx:afterRequest") && i+1 < len(b.errors) && strings.HasPrefix(b.errors[i+1], "htmx:sendAbort")
		if !after && !strings.HasPrefix(e, "htmx:sendAbort") {
			b.Errorf("the page complains: %s", e)
		}
	}
}

func eval[R any](b *tab, script string) R {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 60*time.Second)
	defer cancel()
	var out R
	var err error
	for range 20 { // a page that is just being replaced has nothing to evaluate in
		if out, err = chromedp.Run(ctx, chromedp.Evaluate[R](script, chromedp.EvalAwaitPromise)); err == nil {
			return out
		}
		<-time.After(50 * time.Millisecond)
	}
	b.Fatalf("%v in %s", err, script[:min(len(script), 200)])
	return out
}

// healing is a receiver that fails until it is mended.
func healing(t *testing.T) (url string, mend func()) {
	var well atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			http.Error(w, "no such table: orders", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func() { well.Store(true) }
}

// TestBrowserFirstWebhook: from a link to a webhook whose first delivery can be looked at.
func TestBrowserFirstWebhook(t *testing.T) {
	b := openTab(t)
	s := apptest.Start(t)
	b.enter(s)
	b.see("main", "Three steps to your first webhook")
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	b.click("a[data-new]")
	b.write("#endpoint", "http://169.254.169.254/latest")
	b.see("#check", "169.254.169.254")
	b.do(chromedp.Evaluate[chromedp.Void](`document.getElementById("endpoint").value = ""`))
	b.write("#endpoint", receiver.URL+"/hooks")
	b.see("#check", "A connection came about")
	b.click(`input[value="conversation.status"]`)
	b.click(".btn.primary")
	b.see("h1", "It is subscribed")
	b.see("#secret", "whsec_")
	secret := eval[string](b, `document.getElementById("secret").textContent`)
	if code := eval[string](b, `document.getElementById("code-0").textContent`); !strings.Contains(code, secret) {
		t.Error("the snippet does not hold the secret")
	}
	b.click("form[action$='/test'] .btn")
	b.see("#result", "Delivered")
	b.see("#result", "Total")
	b.click(".head .btn")
	b.see("h1", receiver.URL+"/hooks")
	w := &world{Server: s}
	id := strings.TrimPrefix(b.at(), "/console/webhooks/")
	event := w.publish(t, "conversation.status", map[string]any{"id": "7", "status": "OPEN"})
	w.settled(t, id, event, "delivered")
	b.click(".tabs a[href$='/deliveries']")
	b.see("#rows", "Delivered")
	b.click("#tail-rows a.main")
	b.see(".timeline", "Attempt 1")
	b.see(".phases", "Total")
	b.see("#curl-text", "<signature>")
	b.click("form[action$='/curl'] .btn")
	b.see("#command", "Signed a moment ago")
	b.calm()
}

// TestBrowserOutage: a failing endpoint is seen, explained, mended and replayed.
func TestBrowserOutage(t *testing.T) {
	b := openTab(t)
	s := apptest.Start(t)
	url, mend := healing(t)
	w := &world{Server: s}
	id := call(t, s, "POST", "/v1/webhooks", map[string]any{"endpoint": url, "events": []string{"*"}, "retry_schedule_seconds": []int{}})["id"].(string)
	for n := range 3 {
		w.settled(t, id, w.publish(t, "customer.created", map[string]any{"id": fmt.Sprint(n)}), "failed")
	}
	b.enter(s)
	b.open("/console/webhooks/" + id)
	b.see(".codes", "500")
	b.click(".tabs a[href$='/deliveries']")
	b.see("#rows", "Failed")
	b.click("#tail-rows a.main")
	b.see(".timeline", "The endpoint answered 500")
	b.see(".timeline", "no such table: orders")
	mend()
	b.click(".head .btn.primary")
	b.see("h1", "customer.created")
	w.settled(t, id, strings.TrimPrefix(b.at(), "/console/webhooks/"+id+"/deliveries/"), "delivered")
	eventually(b, func() error { // the page reloads itself after the click
		if err := chromedp.Do(b.ctx, chromedp.Reload()); err != nil {
			return err
		}
		if text := eval[string](b, `document.querySelector(".head").innerText`); !strings.Contains(text, "Delivered") {
			return fmt.Errorf("it says %s", text)
		}
		return nil
	})
	b.open("/console/webhooks/" + id + "/deliveries?status=failed")
	b.see("#rows", "Retry all matching")
	b.click("#rows header a.btn")
	b.arrive("/console/replays")
	b.click("button[name=ago][value='1h']")
	b.see("#extent", "2 deliveries")
	b.click("#extent .btn.primary")
	eventually(b, func() error {
		if text := eval[string](b, `document.querySelector("main").innerText`); !strings.Contains(text, "Done") {
			return fmt.Errorf("it says %s", text)
		}
		return nil
	})
	if left := call(t, s, "GET", "/v1/webhooks/"+id+"/deliveries?status=failed", nil)["data"].([]any); len(left) != 0 {
		t.Errorf("%d are still failed", len(left))
	}
	b.calm()
}

// TestBrowserReplay: a long replay shows how far it is, and ends when somebody cancels it.
func TestBrowserReplay(t *testing.T) {
	w := newWorld(t)
	for n := range 20 {
		w.publish(t, "customer.updated", map[string]any{"id": fmt.Sprint("r-", n)})
	}
	b := openTab(t)
	b.enter(w.Server)
	b.open("/console/webhooks/" + w.good + "/deliveries?status=delivered")
	b.see("#rows header", "Retry all matching…")
	eventually(b, func() error { // what was published is delivered meanwhile
		if list := call(t, w.Server, "GET", "/v1/webhooks/"+w.good+"/deliveries?status=delivered", nil)["data"].([]any); len(list) != 22 {
			return fmt.Errorf("%d are delivered", len(list))
		}
		return nil
	})
	b.click("#rows header a.btn")
	b.see("#extent", "22 deliveries") // counted by itself
	b.write("#rate", "1")
	b.click("#replay-form .body > .actions .btn")
	b.see("#extent", "about 22 s")
	b.click("#extent .btn.primary")
	b.see("main", "Running now")
	eventually(b, func() error {
		if value := eval[float64](b, `document.querySelector("progress")?.value ?? 0`); value <= 0 || value >= 1 {
			return fmt.Errorf("progress %v", value)
		}
		return nil
	})
	b.click("[data-opens=cancel]")
	b.see("dialog[open]", w.receiver.URL+"/good")
	b.click("dialog[open] .btn.danger")
	b.see("table", "Cancelled")
	b.calm()
}

// TestBrowserZone: times are in UTC or in the zone of whoever looks, in texts and in fields.
func TestBrowserZone(t *testing.T) {
	w := newWorld(t)
	b := openTab(t)
	b.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"})
		return err
	}))
	b.enter(w.Server)
	const from = "2026-01-02T03:04:05Z"
	b.open("/console/events?from=" + from)
	b.ready()
	field := func() string { return eval[string](b, `document.getElementById("range-from").value`) }
	if got := field(); got != "2026-01-02T03:04:05" {
		t.Errorf("in UTC it is %s", got)
	}
	b.see(".menu summary", "from 2026-01-02 03:04")
	b.click(".side [data-toggle=zone]")
	b.see(".menu summary", "from 2026-01-02 08:34")
	if got := field(); got != "2026-01-02T08:34:05" {
		t.Errorf("in Kolkata it is %s", got)
	}
	b.do(chromedp.Reload())
	b.ready()
	b.see(".menu summary", "from 2026-01-02 08:34")
	b.open("/console/events/" + w.event)
	b.see("time-ago[data-exact]", "+05:30")
	b.open("/console/events?from=" + from)
	b.ready()
	b.do(chromedp.SetValue(chromedp.CSS("select[name=event]"), "customer.created"), chromedp.Evaluate[chromedp.Void](
		`document.querySelector("select[name=event]").dispatchEvent(new Event("change", {bubbles: true}))`))
	b.arrive("from=2026-01-02T03%3A04%3A05.000Z") // the address stays in UTC, so that it means the same to everybody
	// A browser whose clock is an hour late does not tell of the future.
	b.do(atNewDocuments(`const real = Date.now; Date.now = () => real() - 3600000;`))
	b.open("/console/events")
	b.ready()
	if ago := eval[string](b, `document.querySelector("tbody time-ago").textContent`); strings.HasPrefix(ago, "in ") {
		t.Errorf("it was %s", ago)
	}
	b.calm()
}

func TestBrowserRotation(t *testing.T) {
	w := newWorld(t)
	b := openTab(t)
	b.enter(w.Server)
	b.open("/console/webhooks/" + w.good + "/secret")
	b.see("#code-panel-0, #secret-part", "ATLAS_WEBHOOK_SECRET")
	b.click("form[action$='/reveal'] .btn")
	b.see("#secret", "whsec_")
	old := eval[string](b, `document.getElementById("secret").textContent`)
	b.click("[data-opens=rotate]")
	b.see("dialog[open]", w.receiver.URL+"/good")
	b.click("dialog[open] .btn.primary")
	b.see("#secret-part", "Old secret")
	if got := eval[string](b, `document.getElementById("old").textContent`); got != old {
		t.Errorf("the old secret is %s, was %s", got, old)
	}
	if now := eval[string](b, `document.getElementById("secret").textContent`); now == old {
		t.Error("it is still the same")
	}
	b.click("[data-opens=keep]")
	b.see("dialog[open]", "the new secret is forgotten")
	b.click("dialog[open] .btn.primary")
	eventually(b, func() error {
		if got := eval[string](b, `document.getElementById("secret").textContent`); got != old {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
	b.calm()
}

func TestBrowserFiltersStandInTheAddress(t *testing.T) {
	w := newWorld(t)
	b := openTab(t)
	b.enter(w.Server)
	b.open("/console/deliveries")
	b.see("#rows", "Delivered")
	b.do(chromedp.SetValue(chromedp.CSS("select[name=status]"), "retrying"), chromedp.Evaluate[chromedp.Void](
		`document.querySelector("select[name=status]").dispatchEvent(new Event("change", {bubbles: true}))`))
	b.arrive("?status=retrying")
	b.see("#rows", "Retrying")
	if rows := eval[int](b, `document.querySelectorAll("#tail-rows tr").length`); rows != 1 {
		t.Errorf("%d rows", rows)
	}
	b.do(chromedp.Reload())
	if value := eval[string](b, `document.querySelector("select[name=status]").value`); value != "retrying" {
		t.Error(value)
	}
	b.open("/console/webhooks")
	b.write("[type=search]", "good")
	b.arrive("q=good")
	eventually(b, func() error {
		if rows := eval[int](b, `document.querySelectorAll("#rows tbody tr").length`); rows != 1 {
			return fmt.Errorf("%d rows", rows)
		}
		return nil
	})
	b.calm()
}

func TestBrowserLiveTail(t *testing.T) {
	w := newWorld(t)
	b := openTab(t)
	b.enter(w.Server)
	b.open("/console/webhooks/" + w.good + "/deliveries")
	b.see("live-tail", "Live")
	event := w.publish(t, "customer.identify", map[string]any{"id": "live-1"})
	b.see("#tail-rows tr:first-child", "live-1")
	b.do(chromedp.MouseEvent("mouseMoved", 700, 420))
	b.see("live-tail", "Held")
	w.publish(t, "customer.identify", map[string]any{"id": "live-2"})
	b.see("live-tail", "1 new")
	b.see("#tail-rows tr:first-child", "live-1")
	b.do(chromedp.MouseEvent("mouseMoved", 700, 20))
	b.see("#tail-rows tr:first-child", "live-2")
	b.click("#row-" + w.good + "-" + event + " a")
	b.see("h1", "customer.identify")
	b.calm()
}

// TestBrowserLiveTailBehindProxy: while the server restarts, the proxy before it answers 502 itself, with which
// a browser ends a stream for good. The page asks again, and has what was sent meanwhile.
func TestBrowserLiveTailBehindProxy(t *testing.T) {
	w := newWorld(t)
	target, err := url.Parse(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	var down atomic.Bool
	var refused atomic.Int32
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }, FlushInterval: -1}
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if down.Load() {
			refused.Add(1)
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() { proxy.CloseClientConnections(); proxy.Close() })
	b := openTab(t)
	b.enter(w.Server)
	b.base = strings.Replace(proxy.URL, "127.0.0.1", target.Hostname(), 1) // whose cookie it is
	b.open("/console/webhooks/" + w.good + "/deliveries")
	b.see("live-tail", "Live")
	w.publish(t, "customer.identify", map[string]any{"id": "before"})
	b.see("#tail-rows tr:first-child", "before")
	down.Store(true)
	proxy.CloseClientConnections()
	b.see("live-tail", "Connecting")
	eventually(b, func() error {
		if refused.Load() == 0 {
			return errors.New("the stream was not asked for again")
		}
		return nil
	})
	w.publish(t, "customer.identify", map[string]any{"id": "meanwhile"})
	down.Store(false)
	b.see("live-tail", "Live")
	b.see("#tail-rows tr:first-child", "meanwhile")
}

// TestBrowserKeyboard: all of it without a mouse.
func TestBrowserKeyboard(t *testing.T) {
	w := newWorld(t)
	b := openTab(t)
	b.enter(w.Server)
	b.open("/console/")
	b.press(kb.Tab)
	if text := eval[string](b, `document.activeElement.textContent`); text != "Skip to the content" {
		t.Errorf("first is %q", text)
	}
	b.press("?")
	b.see("dialog[open]", "Keyboard")
	b.press(kb.Escape)
	b.press("k", chromedp.Modifier(2)) // Ctrl
	b.see("dialog[open] ul", "Webhooks")
	b.press("good")
	b.see("dialog[open] li[aria-selected=true]", "/good")
	b.press(kb.Enter)
	b.arrive("/console/webhooks/" + w.good)
	b.see("h1", "/good")
	eventually(b, func() error { // keys that come before the page's script are for nobody
		b.press("g")
		b.press("e")
		if at := b.at(); at != "/console/events" {
			return fmt.Errorf("at %s", at)
		}
		return nil
	})
	b.see("h1", "Events")
	eventually(b, func() error {
		b.press("/")
		if at := eval[string](b, `document.activeElement?.name || ""`); at != "object_id" {
			return fmt.Errorf("at %q", at)
		}
		return nil
	})
	b.open("/console/webhooks")
	b.see("h1", "Webhooks")
	eventually(b, func() error {
		if at := b.at(); at != "/console/webhooks/new" {
			b.press("n")
			return fmt.Errorf("at %s", at)
		}
		return nil
	})
	b.see("h1", "New webhook")
	eventually(b, func() error { return b.tabTo("endpoint") })
	b.press(w.receiver.URL + "/by-keyboard")
	eventually(b, func() error { return b.tabTo("events") })
	b.press(" ")
	eventually(b, func() error { return b.tabTo("description", true) })
	b.press(kb.Enter)
	b.see("h1", "It is subscribed")
	eventually(b, func() error {
		b.press(kb.Tab)
		if text := eval[string](b, `document.activeElement.textContent.trim()`); text != "Send a test event" {
			return fmt.Errorf("at %s", text)
		}
		return nil
	})
	b.press(kb.Enter)
	b.see("#result", "Delivered")
	b.calm()
}

// TestBrowserKeyboardDaily: what one does every day, without a mouse: find a failed delivery, send it
// again, look at a secret, pause, delete.
func TestBrowserKeyboardDaily(t *testing.T) {
	s := apptest.Start(t)
	w := &world{Server: s}
	url, mend := healing(t)
	id := call(t, s, "POST", "/v1/webhooks", map[string]any{"endpoint": url + "/shop", "events": []string{"*"}, "retry_schedule_seconds": []int{}})["id"].(string)
	var events []string
	for n := range 3 {
		events = append(events, w.publish(t, "customer.created", map[string]any{"id": fmt.Sprint(n)}))
		w.settled(t, id, events[n], "failed")
	}
	mend()
	b := openTab(t)
	b.enter(s)
	b.ready()
	b.press("g")
	b.press("w")
	b.arrive("/console/webhooks")
	b.see("#rows", "/shop")
	b.ready()
	b.press("j")
	b.press(kb.Enter)
	b.arrive("/console/webhooks/" + id)
	b.tabToText("Deliveries", id+"/deliveries")
	b.press(kb.Enter)
	b.arrive(id + "/deliveries")
	b.see("#tail-rows", "Failed")
	b.ready()
	// j and k go through the rows, x selects.
	b.press("j")
	b.press("j")
	b.press("k")
	b.press("x")
	b.see(".selection b", "1 selected")
	b.press("j")
	b.press("x")
	b.see(".selection b", "2 selected")
	eventually(b, func() error { return b.tabToButton("Send again") })
	b.leave(kb.Enter)
	w.settled(t, id, events[2], "delivered")
	w.settled(t, id, events[1], "delivered")
	b.open("/console/webhooks/" + id + "/deliveries")
	b.ready()
	for range 3 {
		b.press("j")
	}
	b.press(kb.Enter) // the oldest one, which is still failed
	b.arrive(events[0])
	b.see("h1", "customer.created")
	eventually(b, func() error { return b.tabToButton("Send again") })
	b.leave(kb.Enter)
	w.settled(t, id, events[0], "delivered")
	// A dialog opens, keeps the focus, and Esc gives it back.
	b.open("/console/webhooks/" + id + "/secret")
	b.ready()
	eventually(b, func() error { return b.tabToButton("Rotate…") })
	b.press(kb.Enter)
	b.see("dialog[open] h2", "Rotate the secret")
	for range 12 {
		b.press(kb.Tab)
		if outside := eval[bool](b, `document.activeElement !== document.body && !document.activeElement.closest("dialog")`); outside {
			t.Fatal("the focus leaves an open dialog")
		}
	}
	b.press(kb.Escape)
	if text := eval[string](b, `document.activeElement.textContent.trim()`); text != "Rotate…" {
		t.Errorf("after Esc the focus is on %q", text)
	}
	// The palette does what has no address, too.
	b.press("k", chromedp.Modifier(2))
	b.see("#palette li", "Light or dark")
	b.press("light or")
	b.press(kb.Enter)
	if theme := eval[string](b, `document.documentElement.dataset.theme`); theme != "dark" && theme != "light" {
		t.Errorf("theme %q", theme)
	}
	b.open("/console/webhooks/" + id + "/settings")
	b.ready()
	eventually(b, func() error { return b.tabToButton("Delete…", true) })
	b.press(kb.Enter)
	b.see("dialog[open]", "This cannot be undone")
	eventually(b, func() error { return b.tabToButton("Delete wh_…" + id[len(id)-6:]) })
	b.leave(kb.Enter)
	b.see("main", "Three steps to your first webhook")
	b.calm()
}

// leave presses a key that leads to another page, or to this one anew, and waits for that.
func (b *tab) leave(key string) {
	b.Helper()
	eval[bool](b, `window.before = true`)
	b.press(key)
	eventually(b, func() error {
		if eval[bool](b, `window.before === true`) {
			return errors.New("it is still the same page")
		}
		return nil
	})
}

// ready waits until the page's script listens: keys that come before are for nobody.
func (b *tab) ready() {
	b.Helper()
	eventually(b, func() error {
		if !eval[bool](b, `document.readyState === "complete" && customElements.get("live-tail") !== undefined`) {
			return errors.New("still loading")
		}
		return nil
	})
}

// tabToButton presses Tab until a button that says text has the focus.
func (b *tab) tabToButton(text string, back ...bool) error {
	if at := eval[string](b, `document.activeElement?.textContent.trim() || ""`); at == text {
		return nil
	}
	return b.tabTo(text, back...)
}

// tabToText presses Tab until a link that says text and leads to an address with this end has the focus.
func (b *tab) tabToText(text, end string) {
	b.Helper()
	eventually(b, func() error {
		b.press(kb.Tab)
		if !eval[bool](b, fmt.Sprintf(`document.activeElement.textContent.trim() === %q && (document.activeElement.getAttribute("href") || "").endsWith(%q)`, text, end)) {
			return fmt.Errorf("no way to %s", text)
		}
		return nil
	})
}

// tabTo presses Tab until a field has the focus; back presses it with Shift.
func (b *tab) tabTo(name string, back ...bool) error {
	if at := eval[string](b, `document.activeElement?.name || ""`); at == name {
		return nil
	}
	if len(back) > 0 {
		b.press(kb.Tab, chromedp.Modifier(8))
	} else {
		b.press(kb.Tab)
	}
	return fmt.Errorf("no way to %s", name)
}

//go:embed testdata/axe.min.js
var axe string

// screens are pages, and what is seen on them only after something was done there.
func (w *world) screens() []screen {
	opens := func(selector string) func(b *tab) {
		return func(b *tab) {
			b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector(%q).click()`, selector)))
			b.see("dialog[open]", "")
		}
	}
	good := "/console/webhooks/" + w.good
	list := []screen{
		{"palette", "/console/", func(b *tab) { b.press("k", chromedp.Modifier(2)); b.see("#palette li", "Light or dark") }},
		{"shortcuts", "/console/", func(b *tab) { b.press("?"); b.see("dialog[open]", "Keyboard") }},
		{"a secret", good + "/secret", func(b *tab) { b.click("form[action$='/reveal'] .btn"); b.see("#secret", "whsec_") }},
		{"a dialog", good + "/settings", opens("[data-opens=delete]")},
		{"a selection", good + "/deliveries", func(b *tab) { b.click("tbody input"); b.see(".selection b", "1 selected") }},
		{"a range", good + "/deliveries", func(b *tab) { b.click(".menu summary"); b.see(".drop", "Accepted from") }},
		{"a replay that was counted", "/console/replays?webhook=" + w.good + "&only=all", func(b *tab) { b.see("#extent", "deliveries") }},
		{"a filter that was tried", "/console/webhooks/new", func(b *tab) { b.write("#filter", "data.id"); b.see("#preview", "match") }},
		{"an answer to a test", good + "/test", func(b *tab) { b.click("form[action$='/test'] .btn.primary"); b.see("#result", "Delivered") }},
	}
	for _, path := range append(w.pages(), "/console/sign-in", "/console/nothing") {
		_, below, _ := strings.Cut(path, w.bad)
		if strings.Contains(path, "companies") || strings.Contains(path, "system") || slices.Contains([]string{"/test", "/secret", "/settings", "/activity"}, below) {
			continue // for operators; or like the page of the other webhook
		}
		list = append(list, screen{path, path, nil})
	}
	return list
}

// TestBrowserAccessible: axe-core finds nothing serious on any screen, in both themes and on a
// phone; and nothing is wider than the screen, whatever that is.
func TestBrowserAccessible(t *testing.T) {
	w := newWorld(t)
	w.publish(t, "conversation.custom_field", map[string]any{"id": "c19a7d78-37a1-4ee4-9e68-aae0d4c93f7e"})
	b := openTab(t)
	b.enter(w.Server)
	for _, s := range w.screens() {
		b.everywhere(s)
	}
	if err := b.complained("404 (Not Found)"); err != nil { // of the page that there is not
		t.Error(err)
	}
	// A control: a page with barriers is found out.
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("main").innerHTML = "<button></button>"`))
	if found := b.barriers(`{}`); len(found) != 1 {
		t.Errorf("of a button without a name axe says %q", found)
	}
	b.calm()
}

// everywhere looks at one screen in both themes, on a desk and on a phone.
func (b *tab) everywhere(s screen) {
	b.Helper()
	b.size(1440)
	b.theme("light")
	b.open(s.path)
	if s.first != nil {
		s.first(b)
	}
	eval[bool](b, axe+"; true")
	b.accessible(s.name+", light", `{}`)
	b.theme("dark") // changes colours and nothing else
	b.accessible(s.name+", dark", `{runOnly: {type: "rule", values: ["color-contrast"]}}`)
	b.size(1024)
	b.fits(s.name, 1024)
	b.size(390)
	b.fits(s.name, 390)
	b.accessible(s.name+", on a phone", onPhones)
}

// onPhones are the rules whose findings depend on the size of the screen: on what is hidden there, can be
// scrolled, or has become a table of another shape.
const onPhones = `{runOnly: {type: "rule", values: ["target-size", "scrollable-region-focusable", "aria-hidden-focus", "button-name", "link-name", "label",
	"select-name", "nested-interactive", "aria-required-children", "aria-required-parent"]}}`

// fits fails when a page is wider than the screen, or a cell of a table shows more than its own place.
func (b *tab) fits(where string, width int64) {
	b.Helper()
	if got := eval[int64](b, `document.documentElement.scrollWidth`); got > width {
		b.Errorf("%s is %d wide on a screen of %d", where, got, width)
	}
	for _, text := range eval[[]string](b, overflowing) {
		b.Errorf("%s, on a screen of %d: a cell is too narrow for %q", where, width, text)
	}
}

// overflowing are the texts that stand beyond their cell, or whose cell stands beyond its card.
const overflowing = `[...document.querySelectorAll("main td")].filter((td) => td.offsetParent).flatMap((td) => {
	const right = Math.min(td.getBoundingClientRect().right, td.closest(".card").getBoundingClientRect().right) + 1;
	const hidden = (e) => { for (; e !== td; e = e.parentElement) if (getComputedStyle(e).overflowX !== "visible" || getComputedStyle(e).clipPath !== "none") return true; return false; };
	return [td, ...td.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > right && (e === td || !hidden(e.parentElement) && !hidden(e))).map((e) => e.textContent.trim().slice(0, 60));
})`

// TestBrowserAccessibleOperator: the same of the pages that only operators have.
func TestBrowserAccessibleOperator(t *testing.T) {
	w := newWorld(t)
	b := openTab(t)
	b.base = w.URL
	b.open("/console/sign-in")
	b.write("#key", w.Key+kb.Enter)
	b.see("h1", "Companies")
	b.write("#company", "c1"+kb.Enter)
	b.see("h1", "Overview")
	for _, path := range []string{"/console/companies", "/console/system", "/console/keys"} {
		b.everywhere(screen{path, path, nil})
	}
	b.calm()
}

// accessible fails where axe-core finds something serious; options are its own.
func (b *tab) accessible(where, options string) {
	b.Helper()
	for _, f := range b.barriers(options) {
		b.Errorf("%s: %s", where, f)
	}
}

func (b *tab) barriers(options string) []string {
	b.Helper()
	return eval[[]string](b, `axe.run(document, {resultTypes: ["violations"], ...`+options+`}).then((r) => r.violations
		.filter((v) => v.impact === "serious" || v.impact === "critical")
		.map((v) => v.id + ": " + v.help + " " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + (n.any[0] || n.all[0] || n.none[0] || {message: ""}).message).join(" | ")))`)
}
