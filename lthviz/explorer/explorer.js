// The Explorer in the browser: sliders over arrays that arrived once. Every move is computed and drawn here.
// Order of this file: small helpers, reading arrays by named dimensions, panels, controls, render().

const TYPES = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array };
const SVG = "http://www.w3.org/2000/svg";
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const GROUPS = new Intl.NumberFormat("en-US"); // made once: toLocaleString makes one each time
const group = (n) => GROUPS.format(Math.round(n));
const percent = (v, digits = 3) => `${v >= 0.99995 ? "100" : (100 * v).toPrecision(digits)}\u202f%`;
const points = (v) => `${(100 * v).toFixed(1)}\u202f%`;
const plain = (v) => (Number.isInteger(v) ? group(v) : Math.abs(v) >= 1000 ? group(v) : String(+v.toPrecision(4)));

function node(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ---- reading arrays by named dimensions

function decode(model) {
  const spec = model.get("spec"), raw = model.get("arrays"), arrays = {};
  if (!spec?.axes || !raw) throw new Error("This explorer has no data yet: the arrays did not arrive.");
  for (const [name, a] of Object.entries(raw)) {
    if (a.texts) { arrays[name] = { ...a, values: a.texts }; continue; }
    const v = a.data, from = v?.byteOffset ?? 0;
    if (!v) throw new Error(`The data of "${name}" are missing.`);
    arrays[name] = { ...a, name, values: new TYPES[a.dtype]((v.buffer ?? v).slice(from, from + v.byteLength)) };
  }
  const axes = Object.fromEntries(spec.axes.map((a) => [a.name, a]));
  const choices = Object.fromEntries(spec.choices.map((c) => [c.name, c]));
  return { spec, arrays, axes, choices, extent: new Map() };
}

const count = (data, at, axis) => (axis.counts ? axis.counts[at[axis.outer]] : axis.values.length);
const sum = (list, n) => { let s = 0; for (let i = 0; i < n; i++) s += list[i]; return s; };

// Where the entries of an array lie at the point `at`, leaving the dimensions in `free` open.
function locate(data, at, name, free = []) {
  const array = data.arrays[name];
  if (!array) throw new Error(`The data "${name}" are missing.`);
  const size = (d) => data.axes[d]?.values.length ?? data.choices[d]?.values.length ?? data.spec.series.lines.length;
  const found = { values: array.values, base: 0, stride: {}, size: {} };
  let stride = 1;
  for (let i = array.dims.length - 1; i >= 0; i--) {
    const dim = array.dims[i], [outer, inner] = dim.split("/");
    let length = array.shape?.[i] ?? size(dim);
    if (inner) {
      const { counts } = data.axes[inner];
      length = sum(counts, counts.length);
      found.base += sum(counts, at[outer]) * stride;
      if (free.includes(inner)) { found.stride[inner] = stride; found.size[inner] = counts[at[outer]]; }
      else found.base += at[inner] * stride;
    } else if (dim.startsWith("all|")) {
      length = data.choices[dim.slice(4)].values.length + 1;
      found.base += (at[dim.slice(4)] + 1) * stride;
    } else if (free.includes(dim)) { found.stride[dim] = stride; found.size[dim] = length; }
    else if (at[dim] === undefined) throw new Error(`"${name}": nothing says which ${dim} to show.`);
    else found.base += Math.max(0, at[dim]) * stride;
    stride *= length;
  }
  return found;
}

// Mean and 95 % t-interval over `spread`, or the one value that its choice names.
function summary(data, at, place, offset, spread) {
  const step = place.stride[spread], from = place.base + offset, found = [];
  if (step === undefined) return { mean: place.values[from], n: 1 };
  if (at[spread] >= 0) return { mean: place.values[from + step * at[spread]], n: 1 };
  for (let s = 0; s < place.size[spread]; s++) if (!Number.isNaN(place.values[from + step * s])) found.push(place.values[from + step * s]);
  const n = found.length, mean = sum(found, n) / n; // not a number where nothing was measured
  if (n < 2) return { mean, n };
  const square = found.reduce((total, v) => total + (v - mean) ** 2, 0);
  const half = ((data.spec.t[n - 2] ?? 1.96 + 2.4 / (n - 1)) * Math.sqrt(square / (n - 1))) / Math.sqrt(n);
  return { mean, low: mean - half, high: mean + half, n };
}

// ---- curves

const MARKS = {
  o: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  s: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  "^": (x, y, r) => `M${x} ${y - 1.2 * r}l${1.15 * r} ${2.1 * r}h${-2.3 * r}z`,
  D: (x, y, r) => `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
  P: (x, y, r) => `M${x - 0.4 * r} ${y - 1.2 * r}h${0.8 * r}v${0.8 * r}h${0.8 * r}v${0.8 * r}h${-0.8 * r}v${0.8 * r}h${-0.8 * r}v${-0.8 * r}h${-0.8 * r}v${-0.8 * r}h${0.8 * r}z`,
  v: (x, y, r) => `M${x} ${y + 1.2 * r}l${1.15 * r} ${-2.1 * r}h${-2.3 * r}z`,
};
const mark = (line, x, y, r) => (MARKS[line.marker] ?? MARKS.o)(+x.toFixed(1), +y.toFixed(1), r);
const dashes = (line, scale = 1) => (line.dash?.length ? `stroke-dasharray="${line.dash.map((d) => d * scale).join(" ")}"` : "");

function ticks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-6);
  return Array.from({ length: last - first + 1 }, (_, i) => +((first + i) * step).toPrecision(12));
}

function logTicks(low, high, most) {
  if (!(low > 0)) throw new Error(`A logarithmic axis begins above zero, not at ${plain(low)}.`);
  const list = [];
  for (let p = Math.floor(Math.log10(low)); 10 ** p <= high; p++) for (const m of [1, 2, 5]) list.push(m * 10 ** p);
  const inside = list.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  return inside.length > most ? inside.filter((t) => Math.abs(Math.log10(t) % 1) < 1e-6) : inside;
}

// All numbers of the series that are shown, at every position: the scale stays still while the sliders move.
function extent(data, name, series, shown) {
  const array = data.arrays[name], axis = shown.length ? array.dims.indexOf(series) : -1; // nothing ticked: of all
  const key = `${name}:${shown}`;
  if (data.extent.has(key)) return data.extent.get(key);
  const inner = array.shape.slice(axis + 1).reduce((a, b) => a * b, 1), lines = axis < 0 ? 1 : array.shape[axis];
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < array.values.length; i++) {
    const v = array.values[i];
    if (v === v && (axis < 0 || shown.includes(Math.floor(i / inner) % lines))) { if (v < low) low = v; if (v > high) high = v; }
  }
  if (!(low < high)) [low, high] = low === high ? [low - 0.5, high + 0.5] : [0, 1];
  data.extent.set(key, [low, high]);
  return [low, high];
}

function curveData(data, at, panel, shown) {
  const { series, spread, along } = panel;
  const free = [along, spread].filter(Boolean), lines = data.spec.series?.lines ?? [{ label: panel.ylabel, short: "", colour: "#0072B2" }];
  const read = (where, line) => {
    const y = locate(data, where, panel.y, free), x = locate(data, where, panel.x, free), list = [];
    const n = Math.min(y.size[along], x.size[along]);
    for (let i = 0; i < n; i++)
      list.push({ i, x: x.values[x.base + i * x.stride[along]], ...summary(data, at, y, i * y.stride[along], spread) });
    return { line, list: list.filter((p) => p.mean === p.mean) };
  };
  const rows = (series ? shown : [0]).map((s) => read({ ...at, [series]: s }, lines[s])).filter((row) => row.list.length);
  const { label, ...fixed } = panel.reference ?? {};
  return { rows, reference: label && read({ ...at, [series]: 0, ...fixed }, { label }) };
}

function curves(data, panel, ui) {
  const svg = document.createElementNS(SVG, "svg"), tip = node("div", { class: "lth-tip", hidden: "" });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", panel.title); // until it is drawn, which waits until it is in sight
  const layers = ["frame", "now", "lines", "points", "hover"].map((name) => {
    const g = document.createElementNS(SVG, "g");
    g.setAttribute("class", name);
    svg.append(g);
    return { g, text: "" };
  });
  const paint = (...texts) => texts.forEach((text, i) => { // only what changed
    if (layers[i].text !== text) layers[i].g.innerHTML = layers[i].text = text;
  });
  const box = node("div", { class: "lth-plot" }, svg, tip), py = panel.percent.includes("y"), px = panel.percent.includes("x");
  const fy = py ? points : plain, fx = px ? percent : plain;
  let hit = null, size = null, last = null; // the size is measured when it changes, not at every move
  new ResizeObserver(() => {
    if (size && box.clientWidth === size[0] && box.clientHeight === size[1]) return; // drawn for this size
    size = null;
    if (last && box.clientWidth) update(...last);
  }).observe(box);

  function measure() {
    const width = box.clientWidth || 480;
    box.style.minHeight = `${Math.round(Math.max(15 * ui.unit, Math.min(width * panel.height, 26 * ui.unit)))}px`;
    return [width, box.clientHeight, ui.unit];
  }
  function update(at, shown) {
    last = [at, shown];
    const { rows, reference } = curveData(data, at, panel, shown), [W, H, u] = (size ??= measure());
    const labelled = panel.labels && W > 27 * u;
    const right = labelled ? 0.62 * u * Math.max(4, ...rows.map((r) => r.line.short.length + 1)) + u : 1.2 * u;
    const box0 = { left: 3.1 * u, right: W - right, top: 0.7 * u, bottom: H - 3.4 * u };
    const here = panel.along in at ? at[panel.along] : null;
    let [y0, y1] = panel.ylim ?? extent(data, panel.y, panel.series, shown);
    if (panel.covers) [y0, y1] = [Math.min(y0, panel.covers[0]), Math.max(y1, panel.covers[1])];
    if (panel.span) y0 = Math.max(y0, y1 - panel.span);
    if (!panel.ylim) [y0, y1] = [y0 - 0.04 * (y1 - y0), Math.min(y1 + 0.04 * (y1 - y0), py ? 1 : Infinity)];
    let [x0, x1] = panel.xlim ?? extent(data, panel.x, panel.series, shown);
    if (panel.log) x0 = 0.93 * Math.max(x0, 1e-4 * x1); // a logarithm has no zero
    const tx = panel.log ? Math.log : (v) => v, k = px ? 100 : 1;
    const X = (v) => { const f = (tx(v) - tx(x0)) / (tx(x1) - tx(x0)); return box0.left + (panel.reverse ? 1 - f : f) * (box0.right - box0.left); };
    const Y = (v) => box0.bottom - ((v - y0) / (y1 - y0)) * (box0.bottom - box0.top);
    const at2 = (p, v = p.mean) => `${X(p.x).toFixed(1)} ${Y(v).toFixed(1)}`;
    const out = [], lines = [], marks = [], ends = [];
    const yt = ticks(y0 * (py ? 100 : 1), y1 * (py ? 100 : 1), Math.max(3, Math.floor((box0.bottom - box0.top) / (3 * u))));
    for (const t of yt) {
      const y = Y(py ? t / 100 : t).toFixed(1);
      out.push(`<path class="grid" d="M${box0.left} ${y}H${box0.right}"/>`,
        `<text x="${box0.left - 0.5 * u}" y="${y}" dy=".35em" text-anchor="end">${plain(t)}</text>`);
    }
    const room = Math.max(3, Math.floor((box0.right - box0.left) / ((panel.log ? 2.4 : 3.4) * u)));
    for (const t of panel.log ? logTicks(x0 * k, x1 * k, room) : ticks(x0 * k, x1 * k, room)) {
      const x = X(t / k).toFixed(1);
      out.push(`<path class="grid" d="M${x} ${box0.top}V${box0.bottom}"/>`,
        `<text x="${x}" y="${box0.bottom + 1.25 * u}" text-anchor="middle">${plain(t)}</text>`);
    }
    out.push(`<path class="axis" d="M${box0.left} ${box0.bottom}H${box0.right}"/>`);
    out.push(`<text class="title" x="${(box0.left + box0.right) / 2}" y="${H - 0.6 * u}" text-anchor="middle">${escape(panel.xlabel)}</text>`);
    const now = here === null ? null : rows.map((r) => r.list.find((p) => p.i === here)).find(Boolean);
    const cut = (list) => `<svg x="0" y="0" width="${W}" height="${box0.bottom}" overflow="hidden">${list.join("")}</svg>`; // nothing below the scale
    if (reference?.list.length) lines.push(`<path class="reference" d="M${reference.list.map((p) => at2(p)).join("L")}"/>`);
    for (const { line, list } of [...rows].reverse()) {
      const band = list.filter((p) => p.n > 1), every = Math.max(1, Math.ceil(list.length / 9));
      const offset = rows.findIndex((r) => r.line === line);
      const group = `<g class="series" style="--c:${line.colour}">`, point = here === null ? null : list.find((p) => p.i === here);
      const high = band.map((p) => at2(p, p.high)), low = band.map((p) => at2(p, p.low)).reverse();
      const some = list.filter((p, i) => list.length < 14 || (i + offset) % every === 0);
      lines.push(group);
      if (band.length > 1) lines.push(`<path class="band" d="M${high.join("L")}L${low.join("L")}z"/>`);
      if (list.length > 1) lines.push(`<path class="line" ${dashes(line, u / 15)} d="M${list.map((p) => at2(p)).join("L")}"/>`);
      lines.push(`<path class="marks" d="${some.map((p) => mark(line, X(p.x), Y(p.mean), 0.23 * u)).join("")}"/></g>`);
      if (point?.n > 1) marks.push(`${group}<path class="whisker" d="M${at2(point, point.low)}L${at2(point, point.high)}"/></g>`);
      if (point) marks.push(`${group}<path class="point" d="${mark(line, X(point.x), Y(point.mean), 0.42 * u)}"/></g>`);
      const end = Y(list.at(-1).mean), gone = end > box0.bottom; // it leaves the picture
      if (labelled || gone) ends.push({ y: end, text: `${gone ? "↓ " : ""}${line.short}` });
    }
    if (!labelled && 1.2 * u * ends.length > 0.25 * (box0.bottom - box0.top)) // no room for so many names
      ends.splice(0, Infinity, { y: box0.bottom, text: `↓ ${ends.length} lines below` });
    ends.sort((a, b) => a.y - b.y); // names at the ends of the lines, far enough apart to be read
    for (let i = 1; i < ends.length; i++) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + 1.2 * u);
    for (let i = ends.length - 1, limit = box0.bottom - (labelled ? 0.4 : 0.8) * u; i >= 0; i--, limit = ends[i + 1].y - 1.2 * u)
      ends[i].y = Math.min(ends[i].y, limit);
    const rises = rows.some(({ list }) => Y(list.at(-1).mean) < Math.min(box0.bottom, Y(list[0].mean))); // room below its end
    const edge = labelled ? box0.right + 0.6 * u : box0.left + (rises ? 0.95 : 0.15) * (box0.right - box0.left);
    const anchor = rises && !labelled ? "end" : "start";
    const name = (end) => `<text class="end" text-anchor="${anchor}" x="${edge.toFixed(1)}" y="${end.y.toFixed(1)}" dy=".35em">${escape(end.text)}</text>`;
    const stroke = now ? `<path class="now" d="M${X(now.x).toFixed(1)} ${box0.top}V${box0.bottom}"/>` : "";
    const view = `0 0 ${W} ${H}`;
    if (svg.getAttribute("viewBox") !== view) svg.setAttribute("viewBox", view); // the same again would lay out every text
    paint(out.join(""), stroke, cut(lines) + ends.map(name).join(""), cut(marks), "");
    const told = rows.map(({ line, list }) => [line, now ? list.find((p) => p.i === here) : list.at(-1)]).filter(([, p]) => p);
    const words = told.map(([line, p]) => `${line.label} ${fy(p.mean)}`);
    const where = rows[0] && (now ?? rows[0].list.at(-1));
    const said = where ? `. ${panel.ylabel}; at ${fx(where.x)}: ${words.join(", ")}.` : `: ${shown.length ? "nothing measured yet" : "no curve is ticked"}.`;
    svg.setAttribute("aria-label", panel.title + said);
    hit = { rows, X, Y, box0, W, u };
    hide();
  }

  function nearest(event) {
    const rect = svg.getBoundingClientRect(), x = ((event.clientX - rect.left) / rect.width) * hit.W;
    const list = hit.rows[0]?.list ?? [];
    return list.length && list.reduce((a, b) => (Math.abs(hit.X(b.x) - x) < Math.abs(hit.X(a.x) - x) ? b : a));
  }
  const hide = () => { tip.hidden = true; };
  svg.addEventListener("pointermove", (event) => {
    const point = nearest(event);
    if (!point) return;
    const { X, box0, W, u } = hit, x = X(point.x);
    paint(...layers.slice(0, 4).map((layer) => layer.text), `<path class="guide" d="M${x} ${box0.top}V${box0.bottom}"/>`);
    const rows = hit.rows.map(({ line, list }) => ({ line, p: list.find((q) => q.i === point.i) })).filter((r) => r.p);
    rows.sort((a, b) => b.p.mean - a.p.mean);
    const half = (p) => (py ? (100 * (p.high - p.mean)).toFixed(1) : plain(p.high - p.mean));
    tip.innerHTML = `<b>${escape(panel.xlabel.split(" (")[0])} ${fx(point.x)}</b>` + rows.map(({ line, p }) =>
      `<span>${sample(line)} ${escape(line.short)}</span><span>${fy(p.mean)}${p.n > 1 ? ` <i>± ${half(p)}</i>` : ""}</span>`).join("");
    tip.hidden = false;
    const left = x > W / 2 ? x - tip.offsetWidth - 0.8 * u : x + 0.8 * u;
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = `${box0.top + 0.4 * u}px`;
  });
  svg.addEventListener("pointerleave", () => { hide(); paint(...layers.slice(0, 4).map((layer) => layer.text), ""); });
  if (panel.along in data.axes) {
    svg.classList.add("lth-click");
    svg.addEventListener("click", (event) => { const p = nearest(event); if (p) ui.move(panel.along, p.i); });
  }
  const table = (at, shown) => {
    const { rows } = curveData(data, at, panel, shown), xs = new Map();
    rows.forEach(({ list }, r) => list.forEach((p) => {
      if (!xs.has(p.i)) xs.set(p.i, { x: p.x, cells: [] });
      xs.get(p.i).cells[r] = p;
    }));
    const head = rows.map((r) => `<th scope="col">${escape(r.line.short)}</th>`).join("");
    const cell = (p) => `<td>${p ? fy(p.mean) + (p.n > 1 ? ` (${fy(p.low)} to ${fy(p.high)})` : "") : "not measured"}</td>`;
    const body = [...xs.values()].map(({ x, cells }) =>
      `<tr><th scope="row">${fx(x)}</th>${rows.map((_, r) => cell(cells[r])).join("")}</tr>`).join("");
    const several = rows.some((r) => r.list.some((p) => p.n > 1));
    const caption = `${panel.title}: ${panel.ylabel}${several ? `, mean and 95 % interval over ${panel.spread}s` : ""}`;
    return `<table><caption>${escape(caption)}</caption>` +
      `<thead><tr><th scope="col">${escape(panel.xlabel)}</th>${head}</tr></thead><tbody>${body}</tbody></table>`;
  };
  return [[node("p", { class: "lth-ylabel" }, panel.ylabel), box], update, table];
}

const sample = (line) => `<svg class="sample series" style="--c:${line.colour}" viewBox="0 0 30 12" aria-hidden="true">` +
  `<path class="line" ${dashes(line)} d="M1 6H29"/><path class="mark" d="${mark(line, 15, 6, 4)}"/></svg>`;

// ---- pictures, bars, numbers, sentences

const RAMPS = { light: ["#f1f4f7", "#c3dcee", "#6fb1da", "#0072b2", "#003b62"], dark: ["#1d242b", "#173f5c", "#0f6a9f", "#4fb0e3", "#dff2ff"] };
const ramps = {};
function ramp(dark) { // 256 colours, each one 32-bit number
  const stops = RAMPS[dark ? "dark" : "light"].map((h) => [1, 3, 5].map((i) => parseInt(h.slice(i, i + 2), 16)));
  return (ramps[dark] ??= Uint32Array.from({ length: 256 }, (_, i) => {
    const f = (i / 255) * (stops.length - 1), a = Math.min(stops.length - 2, Math.floor(f));
    const [r, g, b] = stops[a].map((c, j) => Math.round(c + (stops[a + 1][j] - c) * (f - a)));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  }));
}

function picture(data, panel, ui) {
  const canvas = node("canvas", { role: "img", "aria-label": panel.title }), caption = node("p", { class: "lth-caption" });
  function update(at) {
    const free = [panel.rows, panel.columns, panel.spread].filter(Boolean), place = locate(data, at, panel.array, free);
    const rows = place.size[panel.rows], columns = place.size[panel.columns], sr = place.stride[panel.rows], sc = place.stride[panel.columns];
    const every = panel.spread && at[panel.spread] < 0 && panel.average;
    const seeds = every ? [...Array(place.size[panel.spread]).keys()] : [panel.spread ? Math.max(0, at[panel.spread]) : 0];
    const limit = panel.above ? data.axes[panel.above].values[at[panel.above]] : null;
    const total = new Float32Array(rows * columns);
    for (const s of seeds) for (let r = 0; r < rows; r++) {
      const from = place.base + (place.stride[panel.spread] ?? 0) * s + r * sr;
      for (let c = 0; c < columns; c++) {
        const v = place.values[from + c * sc];
        total[r * columns + c] += limit === null ? v : v > limit;
      }
    }
    let most = 0, all = 0;
    for (let i = 0; i < total.length; i++) { total[i] /= seeds.length; all += total[i]; if (total[i] > most) most = total[i]; }
    const binary = limit !== null && seeds.length === 1, colours = ramp(ui.dark);
    if (canvas.width !== columns || canvas.height !== rows) {
      canvas.width = columns;
      canvas.height = rows;
      canvas.parentNode.toggleAttribute("data-beside", columns < 1.5 * rows);
    }
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows), top = binary ? 1.34 : most || 1;
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < total.length; i++) pixels[i] = colours[Math.round((255 * total[i]) / top)];
    context.putImageData(image, 0, 0);
    const which = panel.spread && at[panel.spread] < 0 && !panel.average ? `${panel.spread} ${data.choices[panel.spread].values[0]}: ` : "";
    const kept = limit !== null && `${which}${group(all)} of ${group(rows * columns)} kept`;
    const largest = `${plain(+most.toFixed(1))} ${panel.unit}`;
    caption.innerHTML = kept || `<span>${escape(largest)}</span><i class="lth-ramp"></i><span>0</span>`;
    canvas.setAttribute("aria-label", `${panel.title}: ${kept || `from 0 to ${largest}`}.`);
  }
  return [[node("div", { class: "lth-canvas" }, canvas, caption)], update];
}

function bars(data, panel) {
  const list = node("dl"), update = (at) => {
    const place = locate(data, at, panel.array, [panel.along, panel.spread].filter(Boolean));
    const values = panel.names.map((_, i) => summary(data, at, place, i * place.stride[panel.along], panel.spread).mean);
    const known = values.map((v) => !Number.isNaN(v)), most = Math.max(0, ...values.filter((_, i) => known[i])) || 1;
    const full = panel.of ?? values.map(() => most);
    const bar = (i) => `<i style="width:${known[i] ? Math.max(0.4, (100 * values[i]) / full[i]) : 0}%"></i>`;
    const words = (i) => !known[i] ? "–" : `${group(values[i])}${panel.of ? ` of ${group(full[i])}` : ""} ${escape(panel.unit)}`;
    list.innerHTML = panel.names.map((name, i) => `<dt>${escape(name)}</dt><dd>${bar(i)}<span>${words(i)}</span></dd>`).join("");
  };
  return [[list], update];
}

function number(data, panel) {
  const big = node("b"), small = node("span", {}, `${panel.title}${panel.of ? ` of ${panel.of}` : ""}`);
  const update = (at) => {
    const { mean } = summary(data, at, locate(data, at, panel.array, panel.spread ? [panel.spread] : []), 0, panel.spread);
    big.textContent = Number.isNaN(mean) ? "–" : panel.percent ? percent(mean) : plain(mean >= 100 ? Math.round(mean) : mean);
  };
  return [[big, small], update];
}

function sentence(data, panel) {
  const text = node("p", { "aria-live": "polite", class: "lth-sentence" });
  const update = (at, shown) => { // a sentence about lines speaks of none that is hidden
    const lines = !panel.series ? [0] : !panel.versus ? shown : shown.includes(0) ? [shown[1] ?? 0] : [];
    const said = lines.map((line) => locate(data, { ...at, [panel.series]: line }, panel.text));
    const words = (said.map((place) => place.values[place.base]).join(" ") || panel.otherwise).replaceAll(" %", "\u202f%");
    if (text.textContent !== words) text.textContent = words;
  };
  return [[text], update];
}

function stack(data, panel, ui) {
  const made = panel.panels.map((p) => build(data, p, ui));
  const update = (at, shown) => made.forEach((m) => m.update(at, shown));
  const table = (at, shown) => made.map((m) => m.table?.(at, shown) ?? "").join("");
  return [made.map((m) => m.element), update, table];
}

const MAKE = { curves, picture, bars, number, sentence, stack };
function build(data, panel, ui) {
  const [children, update, table] = MAKE[panel.kind](data, panel, ui);
  const title = panel.title && panel.kind !== "number" ? [node("p", { class: "lth-title" }, panel.title)] : [];
  const element = node("section", { class: `lth-panel lth-${panel.kind}`, style: `--span:${panel.width}` }, ...title, ...children);
  return { element, update, table };
}

// ---- controls

function slider(data, { name }, ui) {
  let axis = data.axes[name], n = 0;
  const id = `${ui.id}-${name}`, range = node("input", { type: "range", id, min: 0, step: 1, name: axis.name });
  const label = `${axis.label}${axis.unit ? ` in ${axis.unit}` : ""}`;
  const box = node("input", { type: "text", inputmode: "decimal", role: "spinbutton", "aria-label": label, name: `${axis.name}-number` });
  box.style.setProperty("--digits", Math.max(2, ...axis.box.map((value) => String(value).length)));
  const marks = node("div", { class: "lth-ticks", "aria-hidden": "true" });
  range.addEventListener("input", () => ui.move(axis.name, +range.value));
  box.addEventListener("keydown", (event) => {
    const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (way) { event.preventDefault(); ui.move(axis.name, Math.max(0, Math.min(n - 1, +range.value + way))); }
  });
  box.addEventListener("change", () => {
    const typed = box.value.replace("%", "").trim(), meant = Number(typed.replace(",", ".") || NaN); // with a decimal comma, too
    const known = axis.box.slice(0, n), index = known.findIndex((v) => Math.abs(v - meant) < 1e-9);
    if (index >= 0) return ui.move(axis.name, index);
    const whole = known.every((v, i) => v === known[0] + i);
    const where = axis.outer ? ` at this ${data.axes[axis.outer].label.toLowerCase()}` : "", unit = axis.unit ? ` ${axis.unit}` : "";
    const several = whole ? `${known[0]} to ${known.at(-1)}` : `${known.slice(0, -1).join(", ")} and ${known.at(-1)}`;
    const allowed = known.length === 1 ? `only ${known[0]}` : several;
    const refused = Number.isNaN(meant) ? `: “${typed}” is not a number` : ` ${typed}${unit} does not exist${where}`;
    ui.say(`${axis.label}${refused}. Allowed: ${allowed}${unit}.`);
    box.value = axis.box[+range.value];
  });
  function update(at) {
    axis = data.axes[name];
    const size = count(data, at, axis), i = at[name];
    if (size !== n) {
      n = size;
      range.max = n - 1;
      range.disabled = n < 2;
      const short = axis.texts.slice(0, n).map((text) => text.replace(/\s*%/, ""));
      const most = Math.min(13, Math.floor(40 / (1 + Math.max(...short.map((text) => text.length))))); // on a small screen too
      const gap = [1, 2, 5, 10, 20, 50].find((g) => n / g <= most) ?? 100;
      const named = (j) => j === n - 1 || j % gap === 0 && (j === 0 || n - 1 - j >= gap * 0.6); // the last, and none too near
      marks.innerHTML = short.map((text, j) =>
        `<i style="--f:${n > 1 ? j / (n - 1) : 0}">${named(j) ? `<span>${escape(text)}</span>` : ""}</i>`).join("");
    }
    range.value = i;
    range.setAttribute("aria-valuetext", axis.texts[i]);
    range.style.setProperty("--f", n > 1 ? i / (n - 1) : 0);
    box.value = axis.box[i];
    box.setAttribute("aria-valuenow", axis.box[i]);
  }
  const head = node("div", { class: "lth-head" }, node("label", { for: id }, axis.label), node("span", { class: "lth-box" }, box, axis.unit));
  const single = axis.values.length === 1 && !axis.follow; // nothing to move
  if (single) box.disabled = true;
  return { element: node("div", { class: single ? "lth-choice" : "lth-axis" }, head, ...(single ? [] : [range, marks])), update };
}

function dropdown(choice, ui) {
  const id = `${ui.id}-${choice.name}`, select = node("select", { id, name: choice.name });
  select.append(node("option", { value: -1 }, choice.every), ...choice.values.map((v, i) => node("option", { value: i }, String(v))));
  select.addEventListener("change", () => ui.move(choice.name, +select.value));
  const element = node("div", { class: "lth-choice" }, node("label", { for: id }, choice.label), select);
  return { element, update: (at) => { select.value = at[choice.name]; } };
}

function legend(series, ui) {
  const field = node("fieldset", { class: "lth-legend" }, node("legend", {}, series.label || "Curves"));
  const boxes = series.lines.map((line) => {
    const box = node("input", { type: "checkbox", name: line.name });
    box.addEventListener("change", () => ui.show(series.lines.filter((_, i) => boxes[i].checked).map((l) => l.name)));
    const label = node("label", {}, box);
    label.insertAdjacentHTML("beforeend", `${sample(line)}<span>${escape(line.label)}</span>`);
    field.append(label);
    return box;
  });
  return { element: field, update: (_, shown) => boxes.forEach((box, i) => { box.checked = shown.includes(i); }) };
}

// ---- the widget

function render({ model, el }) {
  const root = node("div", { class: "lth" }), error = node("p", { class: "lth-error", role: "alert" });
  const content = node("div"), tables = node("div", { tabindex: 0, role: "group", "aria-label": "The numbers of the pictures" });
  const details = node("details", { class: "lth-table" }, node("summary", {}, "Show as table"), tables);
  root.append(error, content, details);
  el.append(root);
  el.addEventListener("keydown", (event) => event.stopPropagation()); // the notebook's shortcuts would take the arrow keys
  let data = null, parts = [], skeleton = "", newest = {}, own = false, timer = 0, watched = [];
  const say = (text) => { error.textContent = text; };
  const ui = { id: `lth-${Math.random().toString(36).slice(2)}`, unit: 15, width: 0, dark: false, move, show, say };
  const inside = (at) => { for (const a of data.spec.axes) at[a.name] = Math.max(0, Math.min(at[a.name], count(data, at, a) - 1)); return at; };
  const places = () => [...data.spec.axes, ...data.spec.choices];
  const where = () => inside(Object.fromEntries(places().map((p) => [p.name, p.values.indexOf(model.get(p.name))])));
  const visible = () => {
    const s = data.spec.series;
    return s ? s.lines.map((_, i) => i).filter((i) => model.get(s.trait).includes(s.lines[i].name)) : [0];
  };

  function set(values) {
    own = true;
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    own = false;
  }
  function put(values) {
    set(values);
    draw();
    if (!model.get("_tell")) return;
    clearTimeout(timer); // Python hears of the move when the hand rests; the picture is already there
    timer = setTimeout(() => model.save_changes(), 250);
  }
  function move(name, index) {
    const at = inside({ ...where(), [name]: index });
    ui.say("");
    put(Object.fromEntries(places().map((p) => [p.name, at[p.name] < 0 ? "all" : p.values[at[p.name]]])));
  }
  function show(names) {
    ui.say("");
    put({ [data.spec.series.trait]: names });
  }
  const guarded = (work) => { try { work(); } catch (problem) { ui.say(problem.message); console.warn(problem); } };
  function draw() {
    guarded(() => {
      if (!data || !ui.width) return; // not on the page yet
      const at = where(), shown = visible();
      for (const part of parts) part.update(at, shown);
      if (details.open) tables.innerHTML = parts.map((part) => part.table?.(at, shown) ?? "").join("");
    });
  }
  // New data: build the page again only when its structure changed, so that focus and position survive live updates.
  function load() {
    guarded(() => {
      const next = decode(model), { axes, choices, series, panels } = next.spec;
      const plan = JSON.stringify([axes.map((a) => [a.name, a.label, a.unit, a.outer, a.values.length === 1]), choices, series, panels]);
      if (plan === skeleton) Object.assign(data, next);
      else { data = next; skeleton = plan; assemble(); }
      follow();
      error.textContent = "";
    });
    draw();
  }
  // An axis that stood on its newest value goes on to the new newest one; a position that is gone moves to the nearest.
  function follow() {
    const values = {};
    for (const a of data.spec.axes) {
      const was = model.get(a.name), n = a.values.length;
      if (a.follow && was === newest[a.name]) values[a.name] = a.values[n - 1];
      else if (!a.values.includes(was)) values[a.name] = a.values.reduce((p, q) => (Math.abs(q - was) < Math.abs(p - was) ? q : p));
      newest[a.name] = a.values[n - 1];
    }
    for (const c of data.spec.choices) if (model.get(c.name) !== "all" && !c.values.includes(model.get(c.name))) values[c.name] = "all";
    set(values); // Python follows by itself
  }
  function assemble() {
    const { spec } = data, axes = spec.axes.map((a) => slider(data, a, ui)), choices = spec.choices.map((c) => dropdown(c, ui));
    const key = spec.series && spec.series.lines.length > 1 ? [legend(spec.series, ui)] : [];
    const panels = spec.panels.map((p) => build(data, p, ui));
    parts = [...axes, ...choices, ...key, ...panels];
    details.hidden = !panels.some((panel) => panel.table);
    const bar = node("div", { class: "lth-controls" }, ...[...axes, ...choices].map((p) => p.element));
    content.replaceChildren(bar, ...key.map((p) => p.element), node("div", { class: "lth-panels" }, ...panels.map((p) => p.element)));
    for (const name of watched) model.off(`change:${name}`, moved);
    watched = places().map((p) => p.name).concat(spec.series ? [spec.series.trait] : []);
    for (const name of watched) model.on(`change:${name}`, moved);
  }
  const moved = () => { if (!own) { ui.say(""); draw(); } };
  const resolved = (event) => { // what was refused is history at the next touch; Enter brings the next answer by itself
    if (data && error.textContent && event.key !== "Enter") { ui.say(""); draw(); }
  };
  for (const kind of ["pointerdown", "keydown"]) content.addEventListener(kind, resolved);
  let waiting = false;
  const arrived = () => { // spec and arrays come in one message: load once
    if (!waiting) queueMicrotask(() => { waiting = false; load(); });
    waiting = true;
  };
  function theme() {
    const body = document.body, dark = body.dataset.jpThemeLight === "false" || /(theme|vscode)-dark/.test(body.className);
    if (dark !== ui.dark) { ui.dark = dark; root.toggleAttribute("data-dark", dark); draw(); }
  }
  const sizes = new ResizeObserver(() => {
    if (root.clientWidth === ui.width) return; // higher or lower by a line of text
    ui.width = root.clientWidth;
    ui.unit = Math.max(15, Math.min(19, ui.width / 82));
    root.style.setProperty("--u", `${ui.unit}px`);
    root.toggleAttribute("data-narrow", ui.width < 640);
    root.toggleAttribute("data-medium", ui.width >= 640 && ui.width < 1000);
    draw();
  });
  const themes = new MutationObserver(theme);
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  details.addEventListener("toggle", draw);
  for (const name of ["spec", "arrays"]) model.on(`change:${name}`, arrived);
  theme();
  load();
  sizes.observe(root);
  return () => {
    for (const observer of [sizes, themes]) observer.disconnect();
    for (const name of watched) model.off(`change:${name}`, moved);
    for (const name of ["spec", "arrays"]) model.off(`change:${name}`, arrived);
  };
}

export default { render };
