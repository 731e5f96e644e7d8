package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

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

// TestBrowserHostileTexts puts each of them into every field that somebody else writes, and looks at
// every page that shows it.
func TestBrowserHostileTexts(t *testing.T) {
	texts := hostile()
	if len(texts) < 200 {
		t.Fatal(len(texts))
	}
	all := strings.Join(texts, "\n")
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("X-Hostile", strings.ReplaceAll(strings.Join(texts[:60], " "), "\n", " "))
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, all)
	}))
	defer answers.Close()
	w := newWorld(t)
	id := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{"endpoint": answers.URL + "/?" + url.QueryEscape(texts[4]), "events": []string{"*"}, "retry_schedule_seconds": []int{}})["id"].(string)
	var pages []string
	for part := range slices.Chunk(texts, 8) { // a description has 1024 characters at most
		made := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{
			"endpoint": answers.URL + "/" + url.PathEscape(part[0]), "events": []string{"customer_notes.deleted"}, "description": cutTo(strings.Join(part, " "), 1000),
			"filter": "data.x != " + quoted(part[1%len(part)]),
		})
		pages = append(pages, "/console/webhooks/"+made["id"].(string)+"/settings")
		call(t, w.Server, "POST", "/v1/companies/c1/keys", map[string]any{"scope": "read", "name": cutTo(part[0], 128)})
	}
	var event string
	for part := range slices.Chunk(texts, 10) {
		data := map[string]any{"id": "h", "list": part, part[0]: part[1%len(part)]}
		event = call(t, w.Server, "POST", "/v1/events", map[string]any{
			"company_id": "c1", "event": "conversation", "data": data, "object_id": cutTo(strings.ReplaceAll(part[0], "\n", " "), 256),
		})["id"].(string)
		pages = append(pages, "/console/events/"+event, "/console/webhooks/"+id+"/deliveries/"+event)
	}
	w.settled(t, id, event, "failed")
	pages = append(pages, w.pages()...)
	for i, text := range texts {
		q := url.QueryEscape(text)
		if i%5 != 0 {
			continue // each is in the data already; the addresses get a few
		}
		if i%35 == 0 {
			pages = append(pages, "/console/webhooks?q="+q, "/console/deliveries?object_id="+q, "/console/events?object_id="+q, "/console/webhooks/new?endpoint="+q)
		} else {
			pages = append(pages, "/console/webhooks?q="+q)
		}
	}
	b := openTab(t)
	b.enter(w.Server)
	b.do(atNewDocuments(`window.hits = 0; window.hit = () => { window.hits++; }; window.alert = window.hit;`))
	for _, path := range pages {
		b.open(path)
		b.harmless(path)
	}
	// What comes in live, and what htmx swaps in.
	b.open("/console/webhooks/" + id + "/deliveries")
	b.see("live-tail", "Live")
	for part := range slices.Chunk(texts, 60) {
		w.publish(t, "conversation.tags", map[string]any{"id": cutTo(part[0], 200), "list": part})
	}
	b.see("#tail-rows tr:first-child", "conversation.tags")
	b.harmless("the live tail")
	b.open("/console/webhooks/" + id + "/test")
	b.do(chromedp.SetValue(chromedp.CSS("#data"), quoted(all)))
	b.click("form[action$='/test'] .btn.primary")
	b.see("#result", "418")
	b.harmless("a test's result")
	b.open("/console/webhooks/new")
	for _, text := range texts[:20] {
		b.do(chromedp.SetValue(chromedp.CSS("#endpoint"), text), chromedp.Evaluate[chromedp.Void](`document.getElementById("endpoint").dispatchEvent(new Event("input", {bubbles: true}))`))
	}
	b.see("#check", "")
	b.harmless("the check of an endpoint")
	b.press("k", chromedp.Modifier(2))
	b.harmless("the palette")
	b.control()
	t.Logf("%d texts, %d pages", len(texts), len(pages))
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
