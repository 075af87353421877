"use strict";
// All participants: the table, its filters and order, the small multiples, and the ratings. Text is set as text only.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const NEXT = 80; // rows that are drawn at once; more follow when the end comes near

// ratings: those of the table that the run was given, under those of this browser's draft
const DRAFT = "bids_app ratings " + location.pathname;
const ratings = new Map(Object.entries(data.ratings));
const draft = new Map();
try {
  for (const [name, one] of Object.entries(JSON.parse(localStorage.getItem(DRAFT) || "{}"))) {
    if (Array.isArray(one) && String(ratings.get(name)) !== String(one)) { draft.set(name, one); ratings.set(name, one); }
  }
} catch { /* a browser that keeps nothing of files */ }
let saved = true;

const [SUBJECT, SESSION, SERIES, CONTRAST, STATUS, REASON, WARNINGS, PAGE] = [0, 1, 2, 3, 4, 5, 6, 7];
const series = data.rows.map((row, index) => ({
  row, index, values: data.values[index], flags: new Set(data.flags[index]),
  person: data.people[row[SUBJECT]] || "",
  text: [row[SUBJECT], data.people[row[SUBJECT]] || "", row[SERIES], row[REASON], ...row[WARNINGS]].join(" ").toLowerCase(),
}));
const PEOPLE = series.some((one) => one.person);
const shown = new Set(data.shown);

const text = (value) => {
  if (value === null || value === undefined) return "n/a";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(2).replace("-", "−");
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 10 }).replace("-", "−");
};
const element = (tag, content, attributes = {}) => {
  const one = document.createElement(tag);
  if (content !== undefined) one.textContent = content;
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  return one;
};
const why = (one, index) => {
  const [, label, unit, better] = data.measures[index];
  const [count, median, sd] = data.usual[one.row[CONTRAST]][index];
  const value = one.values[index];
  const away = Math.abs(value - median) / sd;
  const side = value < median ? "below" : "above";
  const good = better === "none" ? "" : `; ${better} is better`;
  return `${label}: ${text(value)}${unit && " " + unit} is ${away.toFixed(1)} robust SD ${side} the median ${text(median)} of ${count} ${data.contrasts[one.row[CONTRAST]]}${good}`;
};

const short = (one, index) => {
  const [, median, sd] = data.usual[one.row[CONTRAST]][index];
  const away = ((one.values[index] - median) / sd).toFixed(1);
  return `${data.measures[index][1]} ${text(one.values[index])} (${away > 0 ? "+" : "−"}${Math.abs(away)} SD)`;
};

// the table
const SORTS = {
  participant: (one) => one.row[SERIES],
  person: (one) => one.person || null,
  contrast: (one) => data.contrasts[one.row[CONTRAST]],
  status: (one) => ["failed", "done", "rejected"].indexOf(one.row[STATUS]),
  out: (one) => one.flags.size,
  rating: (one) => { const at = data.levels.indexOf((ratings.get(one.row[SERIES]) || [""])[0]); return at < 0 ? null : at; },
};
let order = { by: "out", down: true, column: -1 }; // column: of the numbers, where it is one
let visible = [];
let drawn = 0;
const body = document.querySelector("tbody");

const valueOf = (one) => (order.by in SORTS ? SORTS[order.by](one) : one.values[order.column]);
const compare = (a, b) => {
  const [x, y] = [valueOf(a), valueOf(b)];
  const [noX, noY] = [x === null || x === undefined, y === null || y === undefined];
  if (noX || noY) return noX - noY || a.index - b.index; // what is missing comes last, whatever the order
  const sign = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
  return (order.down ? -sign : sign) || a.index - b.index;
};

function header() {
  const row = element("tr");
  const add = (key, label, kind, title) => {
    const cell = element("th", undefined, { scope: "col", class: kind });
    if (key) {
      if (order.by === key) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      const button = element("button", label, { type: "button", "data-sort": key });
      if (title) button.title = title;
      cell.append(button);
    } else cell.textContent = label;
    row.append(cell);
  };
  add("participant", "Series", "");
  if (PEOPLE) add("person", "Participant", "");
  add("contrast", "Contrast", "");
  add("status", "Status", "");
  add("out", "Stand out", "numeric", "How many numbers of the series stand out");
  add("", "Why", "");
  add("rating", "Rating", "");
  add("", "Note", "");
  for (const [name, label, unit, better, , meaning] of data.measures) {
    if (shown.has(name)) add(name, label + (unit && `, ${unit}`), "numeric", meaning + (better === "none" ? "" : ` ${better === "higher" ? "Higher" : "Lower"} is better.`));
  }
  document.querySelector("thead").replaceChildren(row);
}

function line(one) {
  const { row } = one;
  const name = row[SERIES];
  const tr = element("tr", undefined, { "data-series": name });
  const first = element("td");
  first.append(row[PAGE] ? element("a", name, { href: `${encodeURIComponent(row[SUBJECT])}.html#${name.replace(/[^A-Za-z0-9_-]/g, "-")}` }) : name);
  tr.append(first);
  if (PEOPLE) tr.append(element("td", one.person));
  tr.append(element("td", data.contrasts[row[CONTRAST]]));
  const status = element("td");
  status.append(element("span", row[STATUS], { class: "word " + (["done", "failed", "rejected"].includes(row[STATUS]) ? row[STATUS] : "") }));
  tr.append(status, element("td", one.flags.size || "", { class: "numeric" + (one.flags.size ? " out" : "") }));
  const told = [row[REASON], ...row[WARNINGS]].filter(Boolean);
  const reasons = element("td", undefined, { class: "why" });
  reasons.append(element("div", [...told, ...[...one.flags].map((index) => short(one, index))].join("; ")));
  reasons.title = [...told, ...[...one.flags].map((index) => why(one, index))].join("\n");
  tr.append(reasons);
  const [rating, note] = ratings.get(name) || ["", ""];
  const select = element("select", undefined, { "aria-label": `Rating of ${name}` });
  for (const level of ["", ...data.levels]) select.append(new Option(level || "—", level, false, level === rating));
  select.className = rating;
  const input = element("input", undefined, { type: "text", maxlength: 500, "aria-label": `Note on ${name}` });
  input.value = note;
  const cells = [element("td"), element("td")];
  cells[0].append(select);
  cells[1].append(input);
  tr.append(...cells);
  data.measures.forEach(([measure], index) => {
    if (!shown.has(measure)) return;
    const cell = element("td", text(one.values[index]), { class: "numeric" });
    if (one.flags.has(index)) { cell.classList.add("out"); cell.title = why(one, index); }
    tr.append(cell);
  });
  return tr;
}

function more(count = NEXT) {
  const lines = document.createDocumentFragment();
  for (const one of visible.slice(drawn, drawn + count)) lines.append(line(one));
  drawn = Math.min(visible.length, drawn + count);
  body.append(lines);
}

function update() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [contrast, status, rating, only] = [byId("contrast").value, byId("status").value, byId("rating").value, byId("only").checked];
  visible = series.filter((one) =>
    words.every((word) => one.text.includes(word)) &&
    (contrast === "" || one.row[CONTRAST] === Number(contrast)) &&
    (status === "" || one.row[STATUS] === status) &&
    (rating === "" || ((ratings.get(one.row[SERIES]) || [""])[0] || "none") === rating) &&
    (!only || one.flags.size > 0 || one.row[WARNINGS].length > 0 || one.row[STATUS] === "failed"));
  visible.sort(compare);
  drawn = 0;
  body.replaceChildren();
  header();
  more();
  byId("matches").textContent = `${visible.length} of ${series.length} series`;
}

for (const id of ["contrast", "status", "rating", "only"]) byId(id).addEventListener("change", update);
byId("search").addEventListener("input", update);
document.querySelector("thead").addEventListener("click", (event) => {
  const by = event.target.dataset.sort;
  if (!by) return;
  const column = data.measures.findIndex((each) => each[0] === by);
  order = { by, down: order.by === by ? !order.down : by === "out", column };
  update();
  document.querySelector(`[data-sort="${CSS.escape(by)}"]`).focus();
});
const frame = byId("table");
frame.addEventListener("scroll", () => {
  if (drawn < visible.length && frame.scrollTop + 2 * frame.clientHeight > frame.scrollHeight) more();
});
addEventListener("beforeprint", () => more(visible.length));

// ratings
function counts() {
  byId("count-flagged").textContent = series.filter((one) => one.flags.size).length;
  byId("count-rated").textContent = [...ratings.values()].filter(([rating]) => rating).length;
}
body.addEventListener("change", (event) => {
  const tr = event.target.closest("tr");
  if (!tr) return;
  const select = tr.querySelector("select");
  const one = [select.value, tr.querySelector("input").value.replace(/\s+/g, " ").trim()];
  select.className = select.value;
  ratings.set(tr.dataset.series, one);
  draft.set(tr.dataset.series, one);
  saved = false;
  try { localStorage.setItem(DRAFT, JSON.stringify(Object.fromEntries(draft))); } catch { /* kept in the page alone */ }
  byId("said").textContent = one[1] && !one[0] ? "A note is kept with a rating only: choose one." : "Not downloaded yet.";
  counts();
});
function table() {
  const lines = [data.columns.join("\t")];
  const places = new Map(series.map(({ row }) => [row[SERIES], [row[SUBJECT], row[SESSION] || "n/a"]]));
  for (const [name, [rating, note]] of [...ratings].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!rating) continue;
    const [subject, session] = places.get(name) || [name.split("_")[0], (name.match(/_(ses-[^_]+)/) || [0, "n/a"])[1]];
    lines.push([subject, session, name, rating, note || "n/a"].join("\t"));
  }
  return lines.join("\n") + "\n";
}
byId("download").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([table()], { type: "text/tab-separated-values" }));
  const link = element("a", undefined, { href: address, download: "qc_ratings.tsv" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  saved = true;
  byId("said").textContent = "Downloaded; give the file to a run with --qc-ratings.";
});
addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });

// which numbers are columns
const groups = [...new Set(data.measures.map((one) => one[4]))];
for (const group of groups) {
  byId("columns").append(element("b", group));
  byId("group-choice").append(new Option(group, group));
  for (const [name, label, , , of] of data.measures) {
    if (of !== group) continue;
    const box = element("input", undefined, { type: "checkbox", value: name });
    box.checked = shown.has(name);
    const one = element("label");
    one.append(box, " " + label);
    byId("columns").append(one);
  }
}
byId("columns").addEventListener("change", (event) => {
  event.target.checked ? shown.add(event.target.value) : shown.delete(event.target.value);
  update();
});

// small multiples: a strip of dots for each contrast
const ROW = 26;
function strip(canvas, index) {
  const scale = devicePixelRatio || 1;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const members = data.contrasts.map((_, contrast) => series.filter((one) => one.row[CONTRAST] === contrast && one.values[index] !== null));
  const rows = members.map((list, contrast) => ({ list, contrast })).filter(({ list }) => list.length);
  const all = rows.flatMap(({ list }) => list.map((one) => one.values[index]));
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const width = canvas.clientWidth;
  const height = rows.length * ROW + 18;
  canvas.style.height = height + "px";
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const x = (value) => 6 + (width - 12) * (high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0.5);
  const dots = [];
  pen.font = "11px system-ui, sans-serif";
  rows.forEach(({ list, contrast }, place) => {
    const [count, median, sd] = data.usual[contrast][index];
    const top = place * ROW;
    if (count && sd) {
      pen.fillStyle = colour("--line");
      pen.fillRect(x(median - 3.5 * sd), top + 12, x(median + 3.5 * sd) - x(median - 3.5 * sd), ROW - 14);
    }
    pen.fillStyle = colour("--quiet");
    pen.textAlign = "left";
    pen.fillText(data.contrasts[contrast], 0, top + 10);
    pen.fillRect(x(median) - 0.5, top + 12, 1, ROW - 14);
    for (const one of list) {
      const y = top + 15 + ((one.index * 7919) % 8); // spread over the strip, always in the same way
      const out = one.flags.has(index);
      pen.beginPath();
      pen.arc(x(one.values[index]), y, out ? 3.2 : 1.8, 0, 7);
      if (out) { pen.strokeStyle = colour("--two"); pen.lineWidth = 1.8; pen.stroke(); }
      else { pen.globalAlpha = list.length > 60 ? 0.45 : 0.8; pen.fillStyle = colour("--one"); pen.fill(); pen.globalAlpha = 1; }
      dots.push([x(one.values[index]), y, one]);
    }
  });
  pen.fillStyle = colour("--quiet");
  pen.textAlign = "left";
  pen.fillText(text(low), 0, height - 4);
  pen.textAlign = "right";
  pen.fillText(text(high), width, height - 4);
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = 100;
    for (const [dx, dy, one] of dots) {
      const far = (dx - px) ** 2 + (dy - py) ** 2;
      if (far < least) [least, best] = [far, one];
    }
    return best;
  };
  canvas.onpointermove = (event) => {
    const one = at(event);
    byId("dot").textContent = one ? `${one.row[SERIES]}: ${text(one.values[index])} ${data.measures[index][2]}` : "";
    canvas.title = one ? `${one.row[SERIES]}: ${text(one.values[index])}` : "";
  };
  canvas.onclick = (event) => { const one = at(event); if (one) find(one); };
}
function find(one) {
  for (const id of ["contrast", "status", "rating"]) byId(id).value = "";
  byId("only").checked = false;
  byId("search").value = one.row[SERIES];
  update();
  byId("table-title").scrollIntoView();
}
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting && !entry.target.dataset.done) {
      entry.target.dataset.done = "1";
      strip(entry.target, Number(entry.target.dataset.measure));
    }
  }
}, { rootMargin: "300px" });
function plots() {
  const chosen = byId("group-choice").value;
  near.disconnect();
  byId("plots").replaceChildren();
  data.measures.forEach(([name, label, unit, better, group, meaning], index) => {
    if (chosen && group !== chosen) return;
    const one = element("figure");
    const note = element("h3", label + (unit && `, ${unit}`));
    note.title = meaning;
    const out = series.filter((each) => each.flags.has(index)).length;
    const words = `${better === "none" ? "" : better + " is better; "}${out ? out + (out === 1 ? " stands out" : " stand out") : "nothing stands out"}`;
    const canvas = element("canvas", undefined, { role: "img", "aria-label": `${label}: ${meaning} ${words}.`, "data-measure": index });
    canvas.height = 40;
    one.append(note, canvas, element("figcaption", words));
    byId("plots").append(one);
    near.observe(canvas);
  });
}
byId("group-choice").addEventListener("change", plots);
byId("multiples").addEventListener("toggle", () => { if (byId("multiples").open) plots(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (byId("multiples").open) plots(); });
let waiting = 0;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { if (byId("multiples").open) plots(); }, 200); });

update();
counts();
