"use strict";
// Filters, the page viewer, tooltips. Text reaches the page through textContent and SVG attributes only.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const pages = all(".page");
  const drawing = JSON.parse(document.getElementById("drawing").textContent);
  const state = { marks: true, words: false, zoom: 1 };
  document.documentElement.classList.add("js");

  // ---- filters

  const lines = (item, key) => (item.dataset[key] || "").split("\n");

  // All text that an item is found by: what it shows, and for a page its words too.
  const haystacks = new WeakMap();
  function haystack(item) {
    if (!haystacks.has(item)) {
      const link = item.querySelector('a[href^="#page-"]');
      const page = link && document.getElementById(link.hash.slice(1));
      const titles = all("[title]", item).map((one) => one.title);
      const words = page ? [page.textContent, drawing[page.dataset.index].words.join(" ")] : [];
      haystacks.set(item, [item.textContent, ...titles, ...words].join(" ").toLowerCase());
    }
    return haystacks.get(item);
  }

  function fits(item, wanted) {
    return Object.entries(wanted).every(([key, value]) => {
      if (key === "text") return value.split(/\s+/).every((word) => haystack(item).includes(word));
      if (key === "score") return item.dataset.score !== "" && Number(item.dataset.score) <= value;
      return lines(item, key).includes(value);
    });
  }

  // The slider's score, shown beside it; null at its end, where it filters nothing.
  function slid(field) {
    const low = Number(field.dataset.low);
    const score = low + ((Number(field.dataset.high) - low) * Number(field.value)) / 100;
    field.nextElementSibling.textContent = score.toFixed(2);
    return field.value === field.max ? null : score;
  }

  function filter(form) {
    const wanted = {};
    for (const field of all("[data-key]", form)) {
      const value = field.type === "range" ? slid(field) : field.value.trim();
      if (value === "" || value === null) continue;
      wanted[field.dataset.key] = field.dataset.key === "text" ? value.toLowerCase() : value;
    }
    const items = all(".item", document.getElementById(`${form.dataset.for}-rows`));
    for (const item of items) item.hidden = !fits(item, wanted);
    const shown = items.filter((item) => !item.hidden).length;
    form.querySelector(".shown").textContent = shown === items.length ? String(shown) : `${shown} of ${items.length}`;
    if (form.dataset.for === "pages") keepOneShown();
  }

  // ---- pages

  function links() {
    return all("#pages-rows .item:not([hidden]) a");
  }

  function current() {
    return links().findIndex((link) => link.hasAttribute("aria-current"));
  }

  function keepOneShown() {
    const shown = links();
    document.querySelector(".empty").hidden = shown.length > 0;
    if (!shown.length) for (const page of pages) page.classList.remove("is-shown");
    else if (current() < 0) show(shown[0].hash.slice(1));
  }

  function show(id) {
    const page = pages.find((one) => one.id === id);
    if (!page) return;
    for (const one of pages) one.classList.toggle("is-shown", one === page);
    for (const link of all("#pages-rows a")) {
      const here = link.hash === `#${id}`;
      if (here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      if (here) scrollWithin(link);
    }
    draw(page);
    apply(page);
  }

  // Scrolls the list alone, never the whole report.
  function scrollWithin(link) {
    const list = link.closest(".list");
    const top = link.parentElement.offsetTop - list.offsetTop;
    if (top < list.scrollTop) list.scrollTop = top - 8;
    else if (top + link.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + link.offsetHeight - list.clientHeight + 8;
  }

  function step(by) {
    const shown = links();
    const next = shown[Math.min(Math.max(current() + by, 0), shown.length - 1)];
    if (next) show(next.hash.slice(1));
    return next;
  }

  function svg(name, attributes, parent) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  const two = (score) => (score === null || score === undefined ? "" : ` ${score.toFixed(2)}`);

  // Draws words and marks over a page the first time that it is shown.
  function draw(page) {
    const paper = page.querySelector(".paper svg");
    if (!paper || page.dataset.drawn) return;
    page.dataset.drawn = "yes";
    const { words, boxes, names, labels, scores, marks } = drawing[page.dataset.index];
    const scale = Number(paper.dataset.tall) / 1000;
    const place = (x0, y0, x1, y1) => ({ x: x0, y: y0 * scale, width: Math.max(x1 - x0, 1), height: Math.max((y1 - y0) * scale, 1) });
    const blank = !paper.querySelector("image");
    words.forEach((word, i) => {
      const at = place(...boxes.slice(4 * i, 4 * i + 4));
      if (blank) {
        const text = svg("text", { class: "written", x: at.x, y: at.y + 0.8 * at.height, "font-size": Math.min(at.height, 40), textLength: at.width, lengthAdjust: "spacingAndGlyphs" }, paper);
        text.textContent = word;
      }
      const label = labels[i] >= 0 ? `\n${names[labels[i]]}${two(scores[i])}` : "";
      svg("rect", { class: "word", ...at }, paper).dataset.said = word + label;
    });
    const taken = words.map((_, i) => place(...boxes.slice(4 * i, 4 * i + 4)));
    marks.forEach((mark, i) => {
      const group = svg("g", { class: `mark tone-${mark.tone}`, "data-mark": i }, paper);
      const lines = mark.boxes.map((box) => place(...box)).map((at) => ({ x: at.x - 3, y: at.y - 3, width: at.width + 6, height: at.height + 6 }));
      for (const at of lines) svg("rect", { ...at, rx: 3 }, group);
      if (lines.length) taken.push(tag(mark, lines[0], group, taken, 1000 * scale));
    });
  }

  const overlap = (a, b) =>
    Math.max(0, Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x)) *
    Math.max(0, Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y));

  // A small flag with the label beside its box, where it covers the least; returns its place.
  function tag(mark, at, group, taken, tall) {
    const back = svg("rect", { class: "tag", height: 17, rx: 3 }, group);
    const text = svg("text", {}, group);
    text.textContent = mark.label.length > 28 ? `${mark.label.slice(0, 27)}…` : mark.label;
    const width = text.getComputedTextLength() + 10;
    const middle = at.y + at.height / 2 - 8.5;
    const right = at.x + at.width;
    const places = [[at.x, at.y - 18], [right - width, at.y - 18], [right + 2, middle], [at.x - width - 2, middle], [at.x, at.y + at.height + 1]]
      .map(([x, y]) => ({ x, y, width, height: 17 }))
      .map((one) => ({ ...one, x: Math.max(0, Math.min(one.x, 1000 - width)), y: Math.max(0, Math.min(one.y, tall - 17)) }));
    const covered = places.map((one) => taken.reduce((sum, other) => sum + overlap(one, other), 0));
    const best = places[covered.indexOf(Math.min(...covered))];
    for (const key of ["x", "y", "width"]) back.setAttribute(key, best[key]);
    text.setAttribute("x", best.x + 5);
    text.setAttribute("y", best.y + 13);
    return best;
  }

  function apply(page) {
    page.classList.toggle("hide-marks", !state.marks);
    page.classList.toggle("show-words", state.words);
    for (const size of [0, 1, 2, 3]) page.classList.toggle(`zoom-${size}`, size === state.zoom);
    for (const button of all("[aria-pressed]", page)) button.setAttribute("aria-pressed", state[button.dataset.do]);
  }

  const actions = {
    marks: () => (state.marks = !state.marks),
    words: () => (state.words = !state.words),
    in: () => (state.zoom = Math.min(state.zoom + 1, 3)),
    out: () => (state.zoom = Math.max(state.zoom - 1, 0)),
    next: () => step(1),
    previous: () => step(-1),
  };

  function act(name) {
    actions[name]();
    const page = pages.find((one) => one.classList.contains("is-shown"));
    if (page) apply(page);
  }

  function light(button, on) {
    const page = button.closest(".page");
    button.classList.toggle("is-on", on);
    const mark = page.querySelector(`.mark[data-mark="${button.dataset.mark}"]`);
    if (mark) mark.classList.toggle("is-on", on);
    return mark;
  }

  for (const button of all(".marks button")) {
    for (const type of ["mouseenter", "focus"]) button.addEventListener(type, () => light(button, true));
    for (const type of ["mouseleave", "blur"]) button.addEventListener(type, () => light(button, false));
    button.addEventListener("click", () => {
      const mark = light(button, true);
      if (mark) mark.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
  }

  // ---- mouse and keys

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) act(button.dataset.do);
    const link = event.target.closest('a[href^="#page-"]');
    if (link) {
      event.preventDefault();
      show(link.hash.slice(1));
      history.replaceState(null, "", link.hash);
    }
    const copy = event.target.closest(".copy");
    if (copy) copyText(copy);
  });

  async function copyText(button) {
    const code = button.previousElementSibling;
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected"; // no clipboard here: Ctrl+C copies the selection
    }
    setTimeout(() => (button.textContent = "Copy"), 1600);
  }

  const keys = { j: "next", k: "previous", w: "words", a: "marks", "+": "in", "=": "in", "-": "out" };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && typing) return event.target.blur();
    if (typing || !pages.length) return;
    const inList = event.target.closest("#pages-rows");
    if (event.key === "/") {
      event.preventDefault();
      document.querySelector("#pages .filters [data-key=text]").focus();
    } else if (inList && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      const next = step(event.key === "ArrowDown" ? 1 : -1);
      if (next) next.focus();
    } else if (keys[event.key]) {
      act(keys[event.key]);
    }
  });

  const tip = document.querySelector(".tip");
  document.addEventListener("pointermove", (event) => {
    const over = event.target.closest && event.target.closest("[data-said]");
    tip.hidden = !over;
    const cursor = document.querySelector(".cursor");
    if (cursor) cursor.toggleAttribute("hidden", !(over && over.classList.contains("at")));
    if (!over) return;
    tip.textContent = over.dataset.said;
    if (over.classList.contains("at")) {
      const x = Number(over.getAttribute("x")) + Number(over.getAttribute("width")) / 2;
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    }
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - box.width - 8)}px`;
    tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 8 : event.clientY + 18}px`;
  });

  // ---- start

  for (const form of all(".filters")) {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => filter(form));
    form.reset();
    filter(form);
  }
  show(location.hash.slice(1));
})();
