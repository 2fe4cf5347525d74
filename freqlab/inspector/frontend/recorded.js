// A page that shows pairs without one band each, from recorded values; nothing is computed.
//
// The element #data holds JSON: bands, names, faces [{name, intact, without}], pairs, threshold.
// A picture of `without` is null where removing the band leaves all pixels unchanged.

"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const state = { pair: 0, band: data.pairs[0].strongest }; // a band of null: none is removed
const FRAME = { left: 58, right: 6, top: 8, bottom: 44 };
const HEIGHT = 340;
const SMALLEST = 160; // pixels; a page that is not yet laid out may have no width
const CHANGES = "◆"; // marks bands without which the decision is another
const at = (id) => document.getElementById(id);

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function html(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function row(heading, ...cells) {
  const made = html("tr"), head = html("th", heading);
  head.scope = "row";
  made.append(head, ...cells.map((cell) => html("td", cell)));
  return made;
}

const shownPair = () => data.pairs[state.pair];
const shownBand = () => (state.band === null ? null : shownPair().without[state.band]);

// Faces ----------------------------------------------------------------------------------------

function figure(role, uri, name, edited) {
  const made = html("figure", undefined, edited ? "edited" : "");
  const image = html("img"), caption = html("figcaption");
  const what = edited ? (state.band === null ? `${role}, all bands` : `${role} without`) : role;
  const detail = edited && state.band !== null ? data.names[state.band] : name;
  image.src = uri;
  image.alt = edited && state.band !== null ? `The ${role} without ${data.bands[state.band]}` : `The ${role}, ${name}`;
  caption.append(html("b", what), detail);
  made.append(image, caption);
  return made;
}

function drawFaces() {
  const figures = [];
  for (const role of ["probe", "reference"]) {
    const face = data.faces[shownPair().faces[role]];
    figures.push(figure(role, face.intact, face.name, false));
    if (!data.masked.includes(role)) continue;
    const removed = state.band === null ? null : face.without[state.band];
    figures.push(figure(role, removed ?? face.intact, face.name, true));
  }
  at("faces").className = figures.length === 4 ? "four" : "three";
  at("faces").replaceChildren(...figures);
}

// Numbers --------------------------------------------------------------------------------------

function verdict(pair, without) {
  if (without === null) return "No band is removed.";
  if (without.text === null) return "No similarity without this band is recorded.";
  if (pair.threshold === null) return "No decision: the faces of the run do not resolve this threshold.";
  if (without.changes) return `The decision changes: ${pair.decision} → ${without.decision}.`;
  return `The decision stays: ${pair.decision}.`;
}

function drawNumbers() {
  const pair = shownPair(), without = shownBand();
  at("numbers").caption.textContent = `Pair ${pair.pair} (${pair.truth}), model ${data.model}`;
  const first = row("with all bands", pair.text ?? "not recorded", pair.decision);
  const second = row(
    state.band === null ? "no band removed" : `without ${data.names[state.band]}`,
    without === null ? "–" : without.text ?? "not recorded",
    without === null ? "–" : without.decision,
  );
  first.cells[1].id = "similarity";
  second.cells[1].id = "similarity-without";
  second.className = "chosen";
  const rows = [
    first,
    second,
    row("influence of the band", without === null ? "–" : without.influence ?? "not recorded", ""),
    row(`threshold at FMR ${data.fmr}`, pair.threshold ?? "not resolved", ""),
  ];
  at("numbers").tBodies[0].replaceChildren(...rows);
  const said = verdict(pair, without);
  if (at("verdict").textContent !== said) at("verdict").textContent = said;
  at("verdict").className = without !== null && without.changes ? "changes" : "";
}

function drawScale() {
  const pair = shownPair(), without = shownBand(), width = Math.max(at("scale").clientWidth, SMALLEST);
  const values = [pair, ...pair.without].map((one) => one.similarity).filter((value) => value !== null);
  const low = Math.min(-0.2, ...values), x = (value) => 16 + ((width - 36) * (value - low)) / (1 - low);
  const svg = element("svg", { width, height: 58, "aria-hidden": true });
  svg.append(element("line", { x1: x(low), x2: x(1), y1: 28, y2: 28, class: "axis" }));
  for (const tick of [0, 0.5, 1]) {
    svg.append(element("line", { x1: x(tick), x2: x(tick), y1: 28, y2: 34, class: "axis" }));
    svg.append(element("text", { x: x(tick), y: 49, "text-anchor": "middle" }, String(tick)));
  }
  if (data.threshold !== null) {
    const place = x(data.threshold), end = place > width - 60 ? "end" : place < 40 ? "start" : "middle";
    svg.append(element("line", { x1: place, x2: place, y1: 17, y2: 39, class: "threshold" }));
    svg.append(element("text", { x: place, y: 12, "text-anchor": end }, "threshold"));
  }
  if (pair.similarity !== null) svg.append(element("circle", { cx: x(pair.similarity), cy: 28, r: 6, class: "before" }));
  if (without !== null && without.similarity !== null) {
    svg.append(element("circle", { cx: x(without.similarity), cy: 28, r: 5, class: "after" }));
  }
  at("scale").replaceChildren(svg);
}

function drawAllBands() {
  const pair = shownPair(), table = at("all-bands");
  table.caption.textContent = `Pair ${pair.pair} (${pair.truth}): each band removed alone; decisions at FMR ${data.fmr}`;
  table.tBodies[0].replaceChildren(...pair.without.map((one, band) => {
    const decision = one.changes ? `${one.decision} (changes)` : one.decision;
    return row(data.names[band], one.influence ?? "not recorded", one.text ?? "not recorded", decision);
  }));
}

// The chart ------------------------------------------------------------------------------------

function stairs(bands, values, to) {
  return bands.flatMap((band, k) =>
    values[k] === null ? [] : [[to.x(band.lower), to.y(values[k])], [to.x(band.upper), to.y(values[k])]]
  );
}

function drawAxes(svg, drawing, to, width) {
  const bottom = HEIGHT - FRAME.bottom;
  let last = -Infinity;
  for (const tick of drawing.x.ticks) {
    svg.append(element("line", { x1: to.x(tick.at), x2: to.x(tick.at), y1: bottom, y2: bottom + 4, class: "axis" }));
    if (to.x(tick.at) - last < 30) continue; // no room for its label
    last = to.x(tick.at);
    svg.append(element("text", { x: last, y: bottom + 17, "text-anchor": "middle" }, tick.text));
  }
  for (const tick of drawing.y.ticks) {
    svg.append(element("line", { x1: FRAME.left - 4, x2: FRAME.left, y1: to.y(tick.at), y2: to.y(tick.at), class: "axis" }));
    svg.append(element("text", { x: FRAME.left - 7, y: to.y(tick.at) + 4, "text-anchor": "end" }, tick.text));
  }
  svg.append(element("rect", {
    x: FRAME.left, y: FRAME.top, width: width - FRAME.left - FRAME.right, height: bottom - FRAME.top, class: "frame",
  }));
  const middle = (FRAME.left + width - FRAME.right) / 2, up = (FRAME.top + bottom) / 2;
  svg.append(element("text", { x: middle, y: bottom + 36, "text-anchor": "middle" }, drawing.x.label));
  svg.append(element("text", { x: 13, y: up, "text-anchor": "middle", transform: `rotate(-90 13 ${up})` }, "directed influence"));
}

function spoken(band) {
  const one = shownPair().without[band];
  if (one.text === null) return `Remove ${data.bands[band]}: not recorded`;
  const change = one.changes ? ", the decision changes" : "";
  return `Remove ${data.bands[band]}: influence ${one.influence}, similarity without it ${one.text}, ${one.decision}${change}`;
}

function drawBand(band, k, drawing, to) {
  const top = FRAME.top, tall = HEIGHT - FRAME.bottom - FRAME.top;
  const group = element("g", { role: "radio", "data-band": k, class: "band", "aria-label": spoken(k) });
  const x = to.x(band.lower), width = to.x(band.upper) - x, zero = to.y(0);
  group.append(element("title", {}, band.text));
  group.append(element("rect", { x, y: top, width, height: tall, class: "reach" }));
  if (band.value === null) {
    group.append(element("rect", { x, y: top, width, height: tall, fill: drawing.no_data }));
  } else {
    const end = to.y(band.value), inset = Math.min(2, width / 6);
    group.append(element("rect", {
      x: x + inset, width: width - 2 * inset, y: Math.min(end, zero),
      height: Math.max(Math.abs(end - zero), 1), fill: band.colour, class: "bar",
    }));
  }
  group.append(element("rect", { x, y: top, width, height: tall, fill: "url(#hatch)", class: "mark" }));
  if (shownPair().without[k].changes) {
    group.append(element("text", { x: x + width / 2, y: top + 14, "text-anchor": "middle", class: "sign" }, CHANGES));
  }
  return group;
}

function drawSpread(svg, drawing, to) {
  for (const kind of drawing.spread) {
    const outline = [...stairs(drawing.bands, kind.lower, to), ...stairs(drawing.bands, kind.upper, to).reverse()];
    svg.append(element("polygon", { points: outline.join(" "), fill: kind.colour, class: "spread" }));
  }
}

function drawMedians(svg, drawing, to) {
  for (const kind of drawing.spread) {
    svg.append(element("polyline", {
      points: stairs(drawing.bands, kind.median, to).join(" "), class: "median",
      stroke: kind.colour, "stroke-dasharray": kind.dash,
    }));
  }
}

function drawLegend(pair) {
  const entries = pair.drawing.spread.map((kind) => {
    const entry = html("span"), swatch = element("svg", { "aria-hidden": true });
    swatch.append(element("rect", { width: 26, height: 12, fill: kind.colour, class: "spread" }));
    swatch.append(element("line", {
      x1: 0, x2: 26, y1: 6, y2: 6, stroke: kind.colour, "stroke-width": 2, "stroke-dasharray": kind.dash,
    }));
    entry.append(swatch, kind.label);
    return entry;
  });
  if (pair.without.some((one) => one.changes)) entries.push(html("span", `${CHANGES} the decision changes without this band`));
  at("legend").replaceChildren(...entries);
}

function drawChart() {
  const { drawing } = shownPair(), width = Math.max(at("chart").clientWidth, SMALLEST);
  const focused = at("chart").contains(document.activeElement);
  const across = width - FRAME.left - FRAME.right, down = HEIGHT - FRAME.top - FRAME.bottom;
  const to = {
    x: (value) => FRAME.left + (across * (value - drawing.x.min)) / (drawing.x.max - drawing.x.min),
    y: (value) => FRAME.top + (down * (drawing.y.max - value)) / (drawing.y.max - drawing.y.min),
  };
  const svg = element("svg", { width, height: HEIGHT, role: "radiogroup", "aria-label": "Band to remove" });
  const hatch = element("pattern", {
    id: "hatch", width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  });
  hatch.append(element("line", { x1: 0, x2: 0, y1: 0, y2: 8, class: "hatch" }));
  svg.append(hatch);
  drawSpread(svg, drawing, to);
  svg.append(...drawing.bands.map((band, k) => drawBand(band, k, drawing, to)));
  svg.append(element("line", { x1: FRAME.left, x2: width - FRAME.right, y1: to.y(0), y2: to.y(0), class: "axis" }));
  drawMedians(svg, drawing, to);
  drawAxes(svg, drawing, to, width);
  at("chart").replaceChildren(svg);
  markBand();
  if (focused) focusBand();
}

function markBand() {
  for (const group of at("chart").querySelectorAll("[data-band]")) {
    const band = Number(group.dataset.band);
    group.setAttribute("aria-checked", band === state.band);
    group.setAttribute("tabindex", band === (state.band ?? 0) ? 0 : -1);
  }
}

function focusBand() {
  at("chart").querySelector("[tabindex='0']").focus();
}

// What the controls do -------------------------------------------------------------------------

function chooseBand(band) {
  state.band = band;
  const text = band === null ? "none" : data.names[band];
  at("band").value = band === null ? 0 : band + 1;
  at("band").setAttribute("aria-valuetext", text);
  at("chosen").textContent = text;
  at("none").disabled = band === null;
  markBand();
  drawFaces();
  drawNumbers();
  drawScale();
}

function choosePair(place) {
  state.pair = (place + data.pairs.length) % data.pairs.length;
  const pair = shownPair();
  at("pair").value = state.pair;
  at("position").textContent = `${state.pair + 1} of ${data.pairs.length}`;
  at("sentence").textContent = pair.sentence;
  at("shell").textContent = data.commands.shell;
  at("python").textContent = `${data.commands.python}${pair.pair})`;
  drawLegend(pair);
  drawChart();
  drawAllBands();
  chooseBand(state.band);
}

function bandOf(target) {
  const group = target.closest("[data-band]");
  return group ? Number(group.dataset.band) : null;
}

function onKey(event) {
  const last = data.bands.length - 1, now = state.band ?? -1;
  const moves = {
    ArrowRight: Math.min(now + 1, last), ArrowUp: Math.min(now + 1, last), Home: 0, End: last,
    ArrowLeft: Math.max(now - 1, 0), ArrowDown: Math.max(now - 1, 0),
  };
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === " " || event.key === "Enter") chooseBand(bandOf(event.target));
  else if (event.key === "Escape") chooseBand(null);
  else if (event.key in moves) chooseBand(moves[event.key]);
  else return;
  event.preventDefault();
  focusBand();
}

function connect() {
  data.pairs.forEach((pair, place) => {
    const option = html("option", pair.heading);
    option.value = place;
    at("pair").append(option);
  });
  at("band").max = data.bands.length;
  at("previous").disabled = at("next").disabled = data.pairs.length === 1;
  at("pair").addEventListener("change", () => choosePair(Number(at("pair").value)));
  at("previous").addEventListener("click", () => choosePair(state.pair - 1));
  at("next").addEventListener("click", () => choosePair(state.pair + 1));
  at("none").addEventListener("click", () => chooseBand(null));
  at("band").addEventListener("input", () => chooseBand(at("band").value === "0" ? null : at("band").value - 1));
  at("chart").addEventListener("keydown", onKey);
  at("chart").addEventListener("click", (event) => {
    const band = bandOf(event.target);
    if (band === null) return;
    chooseBand(band === state.band ? null : band);
    focusBand();
  });
  let width = 0;
  new ResizeObserver(() => {
    if (at("chart").clientWidth === width) return;
    width = at("chart").clientWidth;
    drawChart();
    drawScale();
  }).observe(at("chart"));
}

at("page").hidden = false;
connect();
choosePair(0);
