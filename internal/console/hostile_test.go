package console_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// hostile are two hundred texts that do something in a page that believes them: each calls hit(),
// or leaves an element hostile-mark.
func hostile() (list []string) {
	bases := []string{
		`<script>hit()</script>`, `<ScRiPt>hit()</sCrIpT>`, `<script src="data:text/javascript,hit()"></script>`, `<script src=//evil.example/x.js></script>`,
		`<img src=x onerror=hit()>`, `<img/src=x/onerror=hit()>`, `<img src=x onerror="hit()//`, `<IMG SRC=x OnErRoR=hit()>`, `<svg onload=hit()>`,
		`<svg><script>hit()</script></svg>`, `<svg><animate onbegin=hit() attributeName=x dur=1s>`, `<svg><a xlink:href="javascript:hit()"><text>x</text></a></svg>`,
		`<math><mtext><table><mglyph><style><img src=x onerror=hit()>`, `<body onload=hit()>`, `<iframe src="javascript:hit()"></iframe>`,
		`<iframe srcdoc="<script>parent.hit()</script>"></iframe>`, `<object data="javascript:hit()"></object>`, `<embed src="javascript:hit()">`,
		`<details open ontoggle=hit()>x</details>`, `<video><source onerror=hit()></video>`, `<audio src=x onerror=hit()>`, `<input autofocus onfocus=hit()>`,
		`<select autofocus onfocus=hit()>`, `<textarea autofocus onfocus=hit()>`, `<marquee onstart=hit()>`, `<a href="javascript:hit()">x</a>`,
		`<form action="javascript:hit()"><input type=submit></form>`, `<base href="//evil.example/">`, `<meta http-equiv="refresh" content="0;url=javascript:hit()">`,
		`<link rel=stylesheet href="data:text/css,*{color:red}">`, `<style>@import 'javascript:hit()';</style>`, `<div hx-get="/console/" hx-trigger="load" hx-on:htmx:load="hit()">`,
		`<div hx-trigger="load[hit()]" hx-get="/">`, `<div hx-vals="js:{a:hit()}" hx-get="/console/" hx-trigger=load>`, `<hostile-mark></hostile-mark>`,
		`<time-ago at="<img src=x onerror=hit()>"><hostile-mark>`, `<template><script>hit()</script></template><hostile-mark>`, `<noscript><p title="</noscript><img src=x onerror=hit()>">`,
		`javascript:hit()`, `{{constructor.constructor('hit()')()}}`, `${hit()}`, `<!--><hostile-mark><!---->`,
	}
	wraps := []string{"%s", `">%s`, `'>%s`, `</title></textarea></script></style></pre>%s`, `\u003c/script\u003e%s`}
	for _, wrap := range wraps {
		for _, base := range bases {
			list = append(list, fmt.Sprintf(wrap, base))
		}
	}
	return slices.Clip(list[:min(len(list), 210)])
}

// hostileReceiver answers with a text in every place that an answer has: the path says which text,
// and where.
type hostileReceiver struct {
	texts []string
	plain net.Listener
	tls   *httptest.Server // its certificate is in the name of one of them
}

func newHostileReceiver(t *testing.T, texts []string) *hostileReceiver {
	t.Helper()
	h := &hostileReceiver{texts: texts}
	var err error
	if h.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.plain.Close() })
	go func() {
		for {
			conn, err := h.plain.Accept()
			if err != nil {
				return
			}
			go h.answer(conn)
		}
	}()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name := pkix.Name{CommonName: cutTo(texts[0], 60), Organization: []string{cutTo(texts[4], 60)}}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	h.tls = httptest.NewUnstartedServer(http.NotFoundHandler())
	h.tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.tls.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	h.tls.StartTLS()
	t.Cleanup(h.tls.Close)
	return h
}

// url is where a text comes back in some place of the answer.
func (h *hostileReceiver) url(place string, n int) string {
	return fmt.Sprintf("http://%s/%s/%d", h.plain.Addr(), place, n)
}

func (h *hostileReceiver) answer(conn net.Conn) {
	defer conn.Close()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	all := strings.Join(h.texts, "\n")
	place, number, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	n, _ := strconv.Atoi(number)
	text := strings.ReplaceAll(h.texts[n%len(h.texts)], "\n", " ")
	switch place {
	case "garbage":
		fmt.Fprintf(conn, "%s\r\n\r\n", text)
	case "status":
		fmt.Fprintf(conn, "HTTP/1.1 418 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", text)
	case "redirect":
		fmt.Fprintf(conn, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", text)
	default:
		fmt.Fprintf(conn, "HTTP/1.1 418 I'm a teapot\r\nContent-Type: text/html\r\nRetry-After: %s\r\nX-Hostile: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			text, strings.ReplaceAll(strings.Join(h.texts[:60], " "), "\n", " "), len(all), all)
	}
}

// TestBrowserHostileTexts puts each of them into every field that somebody else writes, and looks at
// every page that shows it.
func TestBrowserHostileTexts(t *testing.T) {
	texts := hostile()
	if len(texts) < 200 {
		t.Fatal(len(texts))
	}
	all := strings.Join(texts, "\n")
	h := newHostileReceiver(t, texts)
	w := newWorld(t)
	pages := w.hostileWebhooks(t, h)
	id := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{
		"endpoint": h.url("all", 4) + "?" + url.QueryEscape(texts[4]), "events": []string{"*"}, "retry_schedule_seconds": []int{},
	})["id"].(string)
	var event string
	for part := range slices.Chunk(texts, 20) {
		data := map[string]any{"id": "h", "list": part}
		for _, text := range part {
			data[text] = text
		}
		event = call(t, w.Server, "POST", "/v1/events", map[string]any{
			"company_id": "c1", "event": "conversation", "data": data, "object_id": cutTo(strings.ReplaceAll(part[0], "\n", " "), 256),
		})["id"].(string)
		pages = append(pages, "/console/events/"+event, "/console/webhooks/"+id+"/deliveries/"+event)
	}
	w.settled(t, id, event, "failed")
	pages = append(pages, w.pages()...)
	for part := range slices.Chunk(texts, 40) {
		q := url.QueryEscape(strings.Join(part, " "))
		pages = append(pages, "/console/webhooks?q="+q)
	}
	for i, text := range texts {
		q := url.QueryEscape(text)
		switch { // what an address holds, and what is said of it where it is wrong
		case i%42 == 0:
			pages = append(pages, "/console/deliveries?object_id="+q, "/console/events?object_id="+q, "/console/webhooks/new?endpoint="+q, "/console/replays?webhook="+w.good+"&only=failed&event="+q+"&from="+q)
		case i%42 == 4:
			pages = append(pages, "/console/deliveries?status="+q, "/console/webhooks/"+w.good+"/deliveries?from="+q, "/console/events?cursor="+q, "/console/webhooks/"+url.PathEscape(text), "/console/sign-in?next="+q)
		}
	}
	p, shown := signedIn(t, w.Server, w.Key), ""
	for _, path := range pages {
		shown += html.UnescapeString(p.get(path).text)
	}
	for _, text := range texts { // a test that shows nothing proves nothing
		if !strings.Contains(shown, text) {
			t.Errorf("%q is on no page", text)
		}
	}
	b := openTab(t)
	b.enter(w.Server)
	b.do(atNewDocuments(`window.hits = 0; window.hit = () => { window.hits++; }; window.alert = window.hit;`))
	for _, path := range pages {
		b.open(path)
		b.harmless(path)
	}
	b.hostileWhileLooking(w, h, id)
	b.control()
	t.Logf("%d texts of %d bytes, %d pages", len(texts), len(all), len(pages))
}

// hostileWebhooks are webhooks whose owner, and whose endpoint, write such texts wherever they can. It
// returns the pages that show them.
func (w *world) hostileWebhooks(t *testing.T, h *hostileReceiver) (pages []string) {
	t.Helper()
	n := 0
	for rest := h.texts; len(rest) > 0; n++ {
		size, many := 0, 0
		for many < len(rest) && size+len(rest[many]) < 1000 { // a description has 1024 characters at most
			size += len(rest[many]) + 1
			many++
		}
		part := rest[:many]
		rest = rest[many:]
		notes := map[string]any{}
		for _, text := range part {
			notes[text] = text
		}
		made := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{
			"endpoint": h.url("all", n) + url.PathEscape(part[0]), "events": []string{"customer_notes.deleted"}, "description": strings.Join(part, " "),
			"filter": "data.x != " + quoted(part[1%len(part)]), "metadata": notes, "headers": map[string]string{"X-'|`-" + fmt.Sprint(n): cutTo(strings.ReplaceAll(part[0], "\n", " "), 100)},
		})
		pages = append(pages, "/console/webhooks/"+made["id"].(string)+"/settings")
		pages = append(pages, "/console/webhooks/"+made["id"].(string))
		call(t, w.Server, "POST", "/v1/companies/c1/keys", map[string]any{"scope": "read", "name": cutTo(part[0], 128)})
	}
	event := w.publish(t, "customer_notes", map[string]any{"id": "9"})
	for i, endpoint := range []string{
		h.url("garbage", 0), h.url("garbage", 4), h.url("garbage", 47), h.url("status", 4), h.url("status", 0), h.url("redirect", 4), h.url("redirect", 38), h.url("redirect", 25), h.tls.URL,
	} {
		id := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{
			"endpoint": endpoint + "?" + fmt.Sprint(i), "events": []string{"customer_notes"}, "retry_schedule_seconds": []int{}, "start_at": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339),
		})["id"].(string)
		w.settled(t, id, event, "failed")
		pages = append(pages, "/console/webhooks/"+id+"/deliveries/"+event)
	}
	return pages
}

// hostileWhileLooking is what comes in live, what is swapped in, and what comes back from a form.
func (b *tab) hostileWhileLooking(w *world, h *hostileReceiver, id string) {
	b.Helper()
	b.open("/console/webhooks/" + id + "/deliveries")
	b.see("live-tail", "Live")
	for part := range slices.Chunk(h.texts, 60) {
		w.publish(b, "conversation.tags", map[string]any{"id": cutTo(part[0], 200), "list": part})
	}
	b.see("#tail-rows tr:first-child", "conversation.tags")
	b.harmless("the live tail")
	b.open("/console/webhooks/" + id + "/test")
	b.set("#data", quoted(strings.Join(h.texts, "\n")))
	b.click("form[action$='/test'] .btn.primary")
	b.see("#result", "418")
	b.harmless("a test's result")
	b.open("/console/webhooks/new")
	for _, text := range append([]string{h.tls.URL}, h.texts[:12]...) {
		b.set("#endpoint", text)
		b.see("#check", "")
	}
	b.set("#filter", h.texts[4])
	b.see("#preview", "unexpected token")
	b.harmless("the check of a form")
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("details.more").open = true`))
	for i, field := range []string{"#endpoint", "#description", "#filter", "#headers", "#metadata", "#retry_schedule_seconds", "#signing_secret", "#timeout_ms"} {
		b.set(field, h.texts[i*5])
	}
	b.click(`input[value="*"]`)
	b.click(".btn.primary:not([type])")
	b.see(".wrong", "JSON object")
	b.harmless("a form that was refused")
	b.press("k", chromedp.Modifier(2))
	b.see("#palette li", "Overview")
	for _, text := range h.texts[:10] {
		b.set("#palette input", text)
	}
	b.set("#palette input", "127")
	b.see("#palette li", "127.0.0.1")
	b.harmless("the palette")
}

// set writes a text into a field as a whole, and lets the page know.
func (b *tab) set(selector, text string) {
	b.Helper()
	b.do(chromedp.SetValue(chromedp.CSS(selector), text), chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector(%q).dispatchEvent(new Event("input", {bubbles: true}))`, selector)))
}

// harmless fails when something was executed, or became more than text.
func (b *tab) harmless(where string) {
	b.Helper()
	got := eval[string](b, `JSON.stringify({hits: window.hits, marks: document.querySelectorAll("hostile-mark, iframe, object, embed, base, marquee, math, [onerror], [onload], [onfocus], [ontoggle], [hx-on\\:htmx\\:load], meta[http-equiv]").length,
		scripts: [...document.scripts].filter((s) => !s.src.startsWith(location.origin + "/console/assets/")).length,
		links: [...document.querySelectorAll("a[href], form[action], [formaction]")].filter((a) => /^\s*(javascript|data|vbscript):/i.test(a.getAttribute("href") || a.getAttribute("action") || "")).length})`)
	if got != `{"hits":0,"marks":0,"scripts":0,"links":0}` {
		b.Errorf("%s: %s", where, got)
	}
}

// control: a page that believes such a text is found out.
func (b *tab) control() {
	b.Helper()
	b.do(chromedp.Navigate("data:text/html,<body>"))
	eventually(b, func() error {
		if hits := eval[int](b, `document.body.innerHTML = "<img src=x onerror=hit()>", new Promise((done) => setTimeout(() => done(window.hits), 50))`); hits == 0 {
			return errors.New("nobody noticed")
		}
		return nil
	})
}

func atNewDocuments(script string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	})
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

func cutTo(s string, n int) string { return s[:min(len(s), n)] }
