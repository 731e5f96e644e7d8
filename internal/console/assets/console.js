// What moves in the console. Whatever strangers wrote is put into the page as text, never as markup.
"use strict";

// In a frame of another site a cookie is only kept if it says so, and then for that site alone.
const framed = window.top !== window;
// The path below which a proxy serves all this.
const root = document.documentElement.dataset.root;
const remember = (name, value) => {
  const secure = location.protocol === "https:";
  const site = framed && secure ? "; samesite=none; secure; partitioned" : `; samesite=lax${secure ? "; secure" : ""}`;
  document.cookie = `${name}=${value}; path=${root}/console/; max-age=31536000${site}`;
};
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// took is a time in milliseconds, with three significant digits.
const took = (ms) => ms >= 1000 ? `${(ms / 1000).toFixed(ms >= 10000 ? 1 : 2)}\u202fs` : `${ms.toFixed(ms >= 100 ? 0 : ms >= 10 ? 1 : 2)}\u202fms`;

const say = (text) => { const box = document.getElementById("say"); if (box) { box.textContent = ""; box.textContent = text; } };

// <time-ago at="…">: how long ago, kept current; the exact time on hover. With data-exact it is the
// exact time, in the zone that was chosen.
const zone = () => document.documentElement.dataset.zone || "utc";
const exact = (at) => {
  if (zone() === "utc") return at.toISOString().replace("T", " ").replace("Z", " UTC");
  const pad = (n, width = 2) => String(n).padStart(width, "0");
  const offset = -at.getTimezoneOffset();
  const hours = `${offset < 0 ? "−" : "+"}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)} ${hours}`;
};
// A browser's clock may be wrong; that of the server counts.
const skew = new Date(document.documentElement.dataset.now) - Date.now();
const now = () => Date.now() + (Math.abs(skew) > 30000 ? skew : 0);
const ago = (at) => {
  const seconds = (now() - at) / 1000;
  const span = (s) => s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
  return seconds < 0 ? `in ${span(-seconds)}` : seconds < 5 ? "just now" : `${span(seconds)} ago`;
};
class TimeAgo extends HTMLElement {
  connectedCallback() { this.update(); }
  update() {
    const at = new Date(this.getAttribute("at"));
    if (isNaN(at)) return;
    const text = this.hasAttribute("data-next") && at <= now() ? "now" : this.hasAttribute("data-exact") ? exact(at) : this.hasAttribute("data-short") ? exact(at).slice(0, 16) : ago(at);
    if (this.textContent !== text) this.textContent = text;
    this.title = exact(at);
  }
}
customElements.define("time-ago", TimeAgo);
const updateTimes = () => document.querySelectorAll("time-ago").forEach((t) => t.update());
setInterval(updateTimes, 5000);

// <copy-button value="…"> or <copy-button from="id of an element">.
class CopyButton extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    if (!button || this.ready) return;
    this.ready = true;
    button.addEventListener("click", async () => {
      const source = this.getAttribute("from") ? document.getElementById(this.getAttribute("from")) : null;
      const text = source ? (source.value ?? source.textContent) : this.getAttribute("value");
      await copy(text);
      button.classList.add("done");
      say("Copied");
      setTimeout(() => button.classList.remove("done"), 1500);
    });
  }
}
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Frames and plain http have no clipboard of their own.
    const area = make("textarea", { value: text, readOnly: true, className: "visually-hidden" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
customElements.define("copy-button", CopyButton);

// <tab-set>: panels with data-tab="name"; all of them are there without script.
class TabSet extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    const panels = [...this.querySelectorAll(":scope > [data-tab]")];
    const bar = make("div", { className: "segments" });
    bar.setAttribute("role", "tablist");
    bar.setAttribute("aria-label", this.getAttribute("label") || "Views");
    const tabs = panels.map((panel, i) => {
      const tab = make("button", { type: "button", textContent: panel.dataset.tab, id: `${this.id}-tab-${i}` });
      panel.id ||= `${this.id}-panel-${i}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", () => select(i));
      tab.addEventListener("keydown", (e) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
        if (step) { const next = (i + step + tabs.length) % tabs.length; select(next); tabs[next].focus(); e.preventDefault(); }
      });
      bar.append(tab);
      return tab;
    });
    const select = (chosen) => {
      panels.forEach((panel, i) => { panel.hidden = i !== chosen; });
      tabs.forEach((tab, i) => { tab.setAttribute("aria-selected", String(i === chosen)); tab.tabIndex = i === chosen ? 0 : -1; });
      if (this.hasAttribute("remember")) try { localStorage.setItem("tab:" + this.getAttribute("remember"), panels[chosen].dataset.tab); } catch { /* no storage in this frame */ }
    };
    this.prepend(bar);
    let start = 0;
    if (this.hasAttribute("remember")) try { start = Math.max(0, panels.findIndex((p) => p.dataset.tab === localStorage.getItem("tab:" + this.getAttribute("remember")))); } catch { /* as above */ }
    select(start);
  }
}
customElements.define("tab-set", TabSet);

const libraries = {};
const library = (address) => libraries[address] ||= new Promise((resolve, reject) => {
  document.head.append(make("script", { src: address, onload: resolve, onerror: reject }));
});

// <time-chart src="…">: figures by time. Until it has come, and without script, the picture inside
// it shows the same.
class TimeChart extends HTMLElement {
  async connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    try {
      if (!document.querySelector(`link[href="${CSS.escape(this.dataset.look)}"]`)) document.head.append(make("link", { rel: "stylesheet", href: this.dataset.look }));
      await library(this.dataset.script);
      await this.load();
    } catch (e) { console.warn("the chart could not be drawn", e); return; }
    this.timer = setInterval(() => { if (!document.hidden) this.load().catch(() => {}); }, 10000);
    this.observer = new ResizeObserver(() => this.plot?.setSize({ width: this.clientWidth, height: 200 }));
    this.observer.observe(this);
    this.onTheme = () => { this.plot?.destroy(); this.plot = null; if (this.data) this.draw(this.data); };
    document.addEventListener("themechange", this.onTheme);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.onTheme);
  }
  disconnectedCallback() {
    clearInterval(this.timer);
    this.observer?.disconnect();
    document.removeEventListener("themechange", this.onTheme);
    matchMedia("(prefers-color-scheme: dark)").removeEventListener("change", this.onTheme);
  }
  async load() {
    const answer = await fetch(this.getAttribute("src"), { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    this.data = await answer.json();
    this.draw(this.data);
  }
  // calm leaves out zeros between zeros: a line that lies on the axis says nothing, and covers others.
  calm(values) { return values.map((v, i) => v || values[i - 1] || values[i + 1] ? v : null); }
  // label is a time of the axis: the hour, or the day where the window is longer than one.
  label(seconds) {
    const text = exact(new Date(seconds * 1000));
    const at = this.data.at;
    return at[at.length - 1] - at[0] > 90000 ? text.slice(5, 10) : text.slice(11, 16);
  }
  draw(figures) {
    const columns = [figures.at, figures.delivered, this.calm(figures.retried), this.calm(figures.failed)];
    if (this.plot) { this.plot.setData(columns); return; }
    const probe = make("span");
    this.append(probe);
    const colour = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
    const fade = (name, part) => { probe.style.color = `color-mix(in srgb, var(${name}) ${part}%, transparent)`; return getComputedStyle(probe).color; };
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui", size: 32 };
    // Where nobody points at a moment the legend has the sums of all.
    const sum = (values) => values.reduce((all, v) => all + (v ?? 0), 0).toLocaleString("en").replaceAll(",", "\u202f");
    const line = (label, name) => ({ label, stroke: colour(name), fill: fade(name, 16), width: 1.5, points: { show: false }, value: (plot, v, series, i) => i == null ? sum(plot.data[series]) : String(v ?? 0) });
    const options = {
      width: this.clientWidth, height: 200, padding: [8, 16, 0, 0], cursor: { y: false, points: { size: 6 } }, legend: { live: true },
      tzDate: (seconds) => zone() === "utc" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000),
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 4)] } },
      axes: [{ ...axis, values: (_, at) => at.map((s) => this.label(s)) }, { ...axis, size: 44 }],
      series: [{ label: "Time", value: (_, v) => v == null ? "all" : exact(new Date(v * 1000)).slice(0, 16) }, line("Delivered", "--good-fill"), line("Retried", "--warn-fill"), line("Failed", "--bad-fill")],
    };
    probe.remove();
    this.replaceChildren();
    this.plot = new uPlot(options, columns, this);
  }
}
customElements.define("time-chart", TimeChart);

// <live-tail src="…" rows="id of a tbody">: attempts as they finish. It holds still while the
// pointer or the focus is on the rows, and shows then what came meanwhile.
class LiveTail extends HTMLElement {
  connectedCallback() {
    this.queue = [];
    this.state = make("span");
    this.count = 0;
    this.button = make("button", { type: "button", className: "btn small", textContent: "Pause" });
    this.lamp = make("span", { className: "live" }, make("i"), this.state);
    this.replaceChildren(this.lamp, this.button);
    this.rows = document.getElementById(this.getAttribute("rows"));
    this.paused = false;
    this.under = false;
    this.button.addEventListener("click", () => { this.paused = !this.paused; this.button.textContent = this.paused ? "Go on" : "Pause"; this.flush(); });
    this.enter = () => { this.under = true; this.show(); };
    this.leave = () => { this.under = false; this.flush(); };
    const area = this.rows.closest("table");
    area.addEventListener("pointerenter", this.enter);
    area.addEventListener("pointerleave", this.leave);
    area.addEventListener("focusin", this.enter);
    area.addEventListener("focusout", this.leave);
    this.connect(1000);
    this.show();
  }
  // A stream that ends is asked for again by itself. One that is refused is not, which is what a proxy does
  // for a moment while the server behind it restarts.
  connect(wait) {
    const address = new URL(this.getAttribute("src"), location.href);
    if (this.last) address.searchParams.set("after", this.last);
    this.source = new EventSource(address);
    this.source.onopen = () => { this.open = true; wait = 1000; this.show(); };
    this.source.onerror = () => {
      this.open = false;
      if (this.source.readyState === EventSource.CLOSED) this.again = setTimeout(() => this.connect(Math.min(2 * wait, 30000)), wait);
      this.show();
    };
    this.source.addEventListener("gap", () => { this.missed = true; this.show(); });
    this.source.addEventListener("attempt", (e) => { this.last = e.lastEventId; this.queue.push(JSON.parse(e.data)); this.queue.splice(0, this.queue.length - 200); this.flush(); });
  }
  disconnectedCallback() { this.source?.close(); clearTimeout(this.again); }
  show() {
    const held = this.paused || this.under;
    this.lamp.className = "live" + (held ? " held" : this.open ? " on" : "");
    this.state.textContent = !this.open ? "Connecting" : held ? `Held${this.queue.length ? `, ${this.queue.length} new` : ""}` : this.missed ? "Live; some were missed, load the page again" : "Live";
  }
  flush() {
    if (!this.paused && !this.under && !this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        for (const attempt of this.queue.splice(0)) this.add(attempt);
        this.show();
      });
    }
    this.show();
  }
  // name is the endpoint, as the list of webhooks on this page has it.
  name(id) {
    const option = document.querySelector(`#of option[value="${CSS.escape(id)}"]`);
    return option ? option.textContent.replace(/^https?:\/\//, "") : "…" + id.slice(-6);
  }
  add(a) {
    const wants = { event: this.dataset.event, object_id: this.dataset.object };
    for (const [field, value] of Object.entries(wants)) if (value && a[field] !== value) return;
    document.getElementById("no-rows")?.remove();
    const link = make("a", { className: "main mono", href: `${root}/console/webhooks/${encodeURIComponent(a.webhook_id)}/deliveries/${encodeURIComponent(a.event_id)}`, textContent: a.event });
    const time = make("time-ago");
    time.setAttribute("at", a.started_at);
    const good = a.outcome === "delivered";
    const tone = good ? "good" : a.outcome === "retry" || a.outcome === "throttled" ? "warn" : "bad";
    const what = good ? "Delivered" : tone === "warn" ? "Retrying" : "Failed";
    const cell = (className, ...children) => make("td", { className }, ...children);
    const row = make("tr", { className: "new" },
      cell("wide", link, make("span", { className: "under clip", textContent: a.object_id || a.event_id })),
      cell("", make("span", { className: `pill ${tone}`, textContent: what })),
      cell("aside", make("span", { className: `code ${good ? "good" : "bad"}`, textContent: a.status_code ?? a.error_class?.replaceAll("_", " ") ?? "–" })),
      cell("num less", document.createTextNode(String(a.number))),
      cell("num less", document.createTextNode(took(a.total_ms))),
      cell("aside", time));
    if (this.hasAttribute("data-select")) {
      const box = make("input", { type: "checkbox", name: "event_id", value: a.event_id });
      box.setAttribute("aria-label", "Select " + a.event_id);
      row.prepend(cell("pick", box));
    }
    if (this.hasAttribute("data-hooks")) {
      const hook = make("a", { className: "soft clip endpoint", href: `${root}/console/webhooks/${encodeURIComponent(a.webhook_id)}`, textContent: this.name(a.webhook_id) });
      row.children[this.hasAttribute("data-select") ? 1 : 0].after(cell("less stretch", hook));
    }
    const id = `row-${a.webhook_id}-${a.event_id}`;
    const old = document.getElementById(id);
    if (old?.querySelector(":checked")) row.querySelector("input").checked = true;
    old?.remove();
    row.id = id;
    this.rows.prepend(row);
    while (this.rows.children.length > 100) this.rows.lastElementChild.remove();
  }
}
customElements.define("live-tail", LiveTail);

// Buttons by data attributes: open and close dialogs, theme, zone, select all, fill in.
document.addEventListener("click", (e) => {
  const target = e.target.closest("[data-opens], [data-closes], [data-toggle], [data-none], [data-hours]");
  if (!target) return;
  if (target.dataset.opens) document.getElementById(target.dataset.opens)?.showModal();
  if (target.hasAttribute("data-closes")) target.closest("dialog")?.close();
  if (target.dataset.toggle === "theme") {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    remember("atlas_theme", document.documentElement.dataset.theme);
    document.dispatchEvent(new Event("themechange"));
  }
  if (target.dataset.toggle === "zone") {
    document.documentElement.dataset.zone = zone() === "utc" ? "local" : "utc";
    remember("atlas_zone", zone());
    showZone();
    document.dispatchEvent(new Event("themechange"));
  }
  if (target.hasAttribute("data-none")) {
    const boxes = target.closest("form").querySelectorAll("table input:checked");
    boxes.forEach((box) => { box.checked = false; });
    boxes[0]?.dispatchEvent(new Event("change", { bubbles: true }));
  }
  if (target.dataset.hours) {
    const [from, to] = target.closest(".drop").querySelectorAll("input");
    setField(from, new Date(now() - target.dataset.hours * 3600000));
    to.value = "";
    from.dispatchEvent(new Event("change", { bubbles: true }));
  }
});
// Fields for times hold them in the zone that is shown.
const fieldTime = (input) => input.value ? new Date(zone() === "utc" ? input.value + "Z" : input.value) : null;
const setField = (input, at) => {
  const shown = zone() === "utc" ? at : new Date(at.getTime() - at.getTimezoneOffset() * 60000);
  input.value = shown.toISOString().slice(0, 19);
};
let shownZone = "utc"; // as the server writes the fields
const showZone = () => {
  const chosen = zone();
  document.querySelectorAll("input[type=datetime-local]").forEach((input) => {
    if (!input.value || chosen === shownZone) return;
    setField(input, new Date(shownZone === "utc" ? input.value + "Z" : input.value));
  });
  shownZone = chosen;
  document.querySelectorAll("[data-toggle=zone] span").forEach((s) => { s.textContent = chosen === "utc" ? "UTC" : "Local time"; });
  document.querySelectorAll("[data-zone-name]").forEach((s) => { s.textContent = chosen === "utc" ? "UTC" : "local time"; });
  updateTimes();
};
// A row of filters says what is set, and offers to clear it.
const showFilters = (form) => {
  const clear = form.querySelector("[data-clear]");
  if (clear) clear.hidden = ![...new FormData(form).values()].some(Boolean);
  const range = form.querySelector(".menu summary span");
  if (!range) return;
  const [from, to] = [...form.querySelectorAll(".drop input")].map(fieldTime);
  range.textContent = [from && "from " + exact(from).slice(0, 16), to && "until " + exact(to).slice(0, 16)].filter(Boolean).join(" ") || "Any time";
};
document.addEventListener("input", (e) => { const form = e.target.closest("form[data-filters]"); if (form) showFilters(form); });
document.addEventListener("change", (e) => { const form = e.target.closest("form[data-filters]"); if (form) showFilters(form); });
// A menu closes when somebody clicks or goes elsewhere.
const closeMenus = (e) => document.querySelectorAll("details.menu[open]").forEach((menu) => { if (!menu.contains(e.target)) menu.open = false; });
document.addEventListener("click", closeMenus);
document.addEventListener("focusin", closeMenus);
document.addEventListener("keydown", (e) => {
  const menu = e.key === "Escape" && e.target.closest?.("details.menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});
document.addEventListener("change", (e) => {
  if (e.target.matches("[data-all]")) {
    document.querySelectorAll(`input[name="${CSS.escape(e.target.dataset.all)}"]`).forEach((box) => { box.checked = e.target.checked; });
  }
  if (e.target.matches("[data-category]")) {
    e.target.closest("fieldset").querySelectorAll("li input").forEach((box) => { box.disabled = e.target.checked; });
  }
  const form = e.target.closest("form");
  const bar = form?.querySelector(".selection");
  if (bar && e.target.matches("[type=checkbox]")) {
    const n = form.querySelectorAll("tbody input:checked").length;
    bar.hidden = n === 0;
    bar.querySelector("[data-count]").textContent = `${n} selected`;
    const all = form.querySelector("[data-all]");
    if (all) { all.checked = n > 0 && !form.querySelector("tbody input[type=checkbox]:not(:checked)"); all.indeterminate = n > 0 && !all.checked; }
  }
  if (e.target.matches("[data-submits]")) form.requestSubmit();
});
// Empty filters do not belong into an address.
document.addEventListener("formdata", (e) => {
  if (e.target.matches("form[data-filters]")) for (const [name, value] of [...e.formData]) if (value === "") e.formData.delete(name);
});
// Times in a form are in the zone that is shown.
document.addEventListener("formdata", (e) => {
  e.target.querySelectorAll?.("input[type=datetime-local][name]").forEach((input) => {
    if (input.value) e.formData.set(input.name, fieldTime(input).toISOString());
  });
});

// A dialog closes when somebody clicks beside it.
document.addEventListener("click", (e) => { if (e.target.tagName === "DIALOG" && e.target.open) {
  const box = e.target.getBoundingClientRect();
  if (e.clientX < box.left || e.clientX > box.right || e.clientY < box.top || e.clientY > box.bottom) e.target.close();
} });

// The palette: every link of the navigation, and the webhooks of this company.
const palette = {
  dialog: document.getElementById("palette"), chosen: 0, items: [],
  async open() {
    if (!this.dialog || this.dialog.open) return;
    this.dialog.showModal();
    const input = this.dialog.querySelector("input");
    input.value = "";
    this.places ||= [
      ...[...document.querySelectorAll(".nav a")].map((a) => ({ text: a.textContent.trim(), under: "Go to", href: a.getAttribute("href") })),
      ...(this.dialog.dataset.writes ? [{ text: "New webhook", under: "Do", href: root + "/console/webhooks/new" }] : []),
      { text: "Light or dark", under: "Do", press: "theme" },
      { text: "Times in UTC or in your own zone", under: "Do", press: "zone" },
    ];
    this.filter("");
    if (!this.webhooks) {
      this.webhooks = [];
      try {
        const answer = await fetch(root + "/console/palette", { headers: { Accept: "application/json" } });
        if (answer.ok) this.webhooks = await answer.json();
      } catch { /* only the navigation, then */ }
      this.filter(input.value);
    }
  },
  filter(text) {
    this.sought = text.trim();
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const all = [...(this.places || []), ...(this.webhooks || [])];
    this.items = all.filter((item) => words.every((w) => (item.text + " " + item.under).toLowerCase().includes(w))).slice(0, 50);
    const id = text.trim();
    if (/^wh_\w+$/.test(id)) this.items.unshift({ text: id, under: "Webhook", href: root + "/console/webhooks/" + encodeURIComponent(id) });
    else if (/^[A-Za-z0-9_:-]{8,128}$/.test(id)) this.items.push({ text: id, under: "Look for this event", href: root + "/console/events/" + encodeURIComponent(id) });
    this.select(0);
  },
  select(n) {
    this.chosen = Math.max(0, Math.min(n, this.items.length - 1));
    const list = this.dialog.querySelector("ul");
    list.replaceChildren(...this.items.map((item, i) => {
      const row = make("li", { id: "palette-" + i }, make("span", { className: "clip", textContent: item.text }), make("small", { textContent: item.under }));
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", String(i === this.chosen));
      row.addEventListener("click", () => this.go(item));
      return row;
    }));
    if (!this.items.length) {
      list.append(make("li", { className: "none", textContent: `Nothing found for “${this.sought}”` }));
      list.firstElementChild.setAttribute("role", "option");
      list.firstElementChild.setAttribute("aria-disabled", "true");
      say("Nothing found");
    }
    this.dialog.querySelector("input").setAttribute("aria-activedescendant", this.items.length ? "palette-" + this.chosen : "");
    list.children[this.chosen]?.scrollIntoView({ block: "nearest" });
  },
  go(item) {
    if (item?.press) { this.dialog.close(); document.querySelector(`[data-toggle=${item.press}]`).click(); }
    else if (item) location.assign(item.href);
  },
};
palette.dialog?.querySelector("input").addEventListener("input", (e) => palette.filter(e.target.value));
palette.dialog?.querySelector("input").addEventListener("keydown", (e) => {
  if (e.key === "ArrowDown" || e.key === "ArrowUp") { palette.select(palette.chosen + (e.key === "ArrowDown" ? 1 : -1)); e.preventDefault(); }
  if (e.key === "Enter") { palette.go(palette.items[palette.chosen]); e.preventDefault(); }
});

// The rows of a list, by j and k; x selects.
const rowLinks = () => [...document.querySelectorAll("main tbody a.main, main details.topic > summary")];
const step = (by) => {
  const links = rowLinks();
  const row = document.activeElement.closest("tr, details.topic");
  const at = row ? links.findIndex((link) => row.contains(link)) : by > 0 ? -1 : links.length;
  links[Math.max(0, Math.min(at + by, links.length - 1))]?.focus();
};

// The keyboard: g and a letter goes somewhere, / searches, n makes a new webhook, ? shows all.
let pending = "";
document.addEventListener("keydown", (e) => {
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") { e.preventDefault(); palette.open(); return; }
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
  if (pending === "g") {
    pending = "";
    const link = document.querySelector(`.nav a[data-key="${CSS.escape(e.key)}"]`);
    if (link) { e.preventDefault(); location.assign(link.href); }
    return;
  }
  switch (e.key) {
    case "?": document.getElementById("shortcuts")?.showModal(); e.preventDefault(); break;
    case "/": { const field = document.querySelector("[type=search]"); if (field) { field.focus(); e.preventDefault(); } break; }
    case "j": step(1); break;
    case "k": step(-1); break;
    case "x": document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click(); break;
    case "n": { const link = document.querySelector("[data-new]"); if (link) location.assign(link.href); break; }
    case "t": document.querySelector("[data-toggle=theme]")?.click(); break;
    case "g": pending = "g"; setTimeout(() => { pending = ""; }, 1200); break;
  }
});

// The page that a link opens: it posts the token that stands behind the #.
const entrance = document.getElementById("enter");
if (entrance) {
  const token = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  entrance.elements.framed.value = String(framed);
  if (token) { entrance.elements.token.value = token; entrance.submit(); }
  else document.getElementById("no-token").hidden = false;
}
document.querySelectorAll("form [name=framed]").forEach((field) => { field.value = String(framed); });

document.body?.addEventListener("htmx:responseError", (e) => {
  // A problem of the API comes as a part of the page; everything else is the network's.
  if (!e.detail.xhr.getResponseHeader("HX-Retarget")) say("That did not work. Try again.");
});
document.body?.addEventListener("htmx:sendError", () => {
  const box = document.getElementById("messages");
  if (box) box.replaceChildren(make("div", { className: "note bad" }, make("div", { textContent: "The server could not be reached. Nothing was changed." })));
});
document.body?.addEventListener("htmx:afterSettle", updateTimes);
document.querySelector("[aria-invalid=true]")?.focus(); // a form that came back
showZone();
