// Frequency plane and profile of a pair; bands are selected in either.
//
// Traits: plane {height, width, labels: int16 band number of every coefficient, zero frequency in
// the middle, -1 for no band, -2 for no coefficient}, drawing (contents: see drawing.py),
// selected [band].

const SVG = "http://www.w3.org/2000/svg";
const WIDEST = 560, NARROWEST = 280, HEIGHT = 250;
const PLANE = 312, BESIDE = 380; // width of the plane; smallest width of a profile beside it
const FRAME = { left: 62, right: 8, top: 26, bottom: 56 };
const LEGEND = 18; // height of a line of the legend

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Selections -----------------------------------------------------------------------------------

function change(model, bands, chosen) {
  const selected = new Set(model.get("selected"));
  for (const band of bands) chosen ? selected.add(band) : selected.delete(band);
  model.set("selected", [...selected].sort((a, b) => a - b));
  model.save_changes();
}

function isSelected(model, band) {
  return model.get("selected").includes(band);
}

function between(a, b) {
  const [first, last] = [Math.min(a, b), Math.max(a, b)];
  return Array.from({ length: last - first + 1 }, (_, k) => first + k);
}

// The plane ------------------------------------------------------------------------------------

function labelsOf(plane) {
  const bytes = plane.labels; // a DataView; copied, as it may not be aligned to 16 bits
  return new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

// An opaque colour "#rrggbb" as the four bytes of a pixel, in the order of the machine.
function pixel(colour) {
  const bytes = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return new Uint32Array(new Uint8Array([...bytes, 255]).buffer)[0];
}

function drawPlane(model, canvas) {
  const plane = model.get("plane"), drawing = model.get("drawing");
  if (!plane.labels || !drawing.bands) return;
  const { height, width } = plane, labels = labelsOf(plane);
  const scale = Math.max(2, Math.round(336 / width));
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const none = pixel(drawing.no_data), black = pixel("#000000");
  const colours = drawing.bands.map((band) => pixel(band.colour));
  const selected = new Set(model.get("selected"));
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const label = labels[Math.floor(y / scale) * width + Math.floor(x / scale)];
      if (label < -1) continue; // transparent
      // selected bands are hatched, so that the selection does not depend on colour
      const hatched = (x + y) % 8 < 2 && selected.has(label);
      // a label may have no colour yet, while the bands of another result arrive
      pixels[y * canvas.width + x] = hatched ? black : colours[label] ?? none;
    }
  }
  context.putImageData(image, 0, 0);
  const edge = (x, y, w, h) => {
    context.fillStyle = "#000";
    context.fillRect(x, y, w, h);
  };
  const chosen = (x, y) => x >= 0 && y >= 0 && x < width && y < height && selected.has(labels[y * width + x]);
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      if (chosen(x, y) !== chosen(x - 1, y)) edge(x * scale - 1, y * scale, 2, scale);
      if (chosen(x, y) !== chosen(x, y - 1)) edge(x * scale, y * scale - 1, scale, 2);
    }
  }
}

function bandAt(model, canvas, event) {
  const { height, width } = model.get("plane");
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  if (x < 0 || y < 0 || x >= width || y >= height) return -1;
  return labelsOf(model.get("plane"))[y * width + x];
}

// The profile ----------------------------------------------------------------------------------

function legendWidth(kind) {
  return 36 + 6.1 * kind.label.length;
}

// The place of the plot within the picture, whose text has one size at any width.
function frameOf(drawing, width) {
  const legend = drawing.spread.reduce((sum, kind) => sum + legendWidth(kind), FRAME.left);
  const lines = legend > width ? drawing.spread.length : 1;
  return {
    width, height: HEIGHT + (lines - 1) * LEGEND, lines, left: FRAME.left,
    right: width - FRAME.right, top: FRAME.top + (lines - 1) * LEGEND,
    bottom: HEIGHT - FRAME.bottom + (lines - 1) * LEGEND,
  };
}

function scales(drawing, frame) {
  const { x, y } = drawing;
  const across = frame.right - frame.left, down = frame.bottom - frame.top;
  return {
    frame,
    x: (value) => frame.left + (across * (value - x.min)) / (x.max - x.min),
    y: (value) => frame.top + (down * (y.max - value)) / (y.max - y.min),
  };
}

// The bands on either side of the axis break; all bands where there is none.
function parts(drawing) {
  const all = drawing.bands.map((_, k) => k);
  return drawing.x.break ? [all.slice(0, -1), all.slice(-1)] : [all];
}

function stairs(bands, values, to, part) {
  return part.flatMap((k) =>
    values[k] === null
      ? []
      : [[to.x(bands[k].lower), to.y(values[k])], [to.x(bands[k].upper), to.y(values[k])]]
  );
}

// The ends of the horizontal axis, in pixels, on either side of the axis break.
function spans(drawing, to) {
  const { min, max } = drawing.x, ends = [min, ...(drawing.x.break ?? []), max].map(to.x);
  return ends.length === 2 ? [ends] : [ends.slice(0, 2), ends.slice(2)];
}

// The ground of the plot is light in every theme, as the colours of the bars are made for it.
function drawGround(svg, drawing, to) {
  const { top, bottom } = to.frame;
  for (const [from, end] of spans(drawing, to)) {
    svg.append(element("rect", { x: from, y: top, width: end - from, height: bottom - top, class: "ground" }));
  }
}

function drawFrame(svg, drawing, to) {
  const { top, bottom, left, right } = to.frame;
  for (const [from, end] of spans(drawing, to)) {
    for (const y of [top, bottom]) {
      svg.append(element("line", { x1: from, x2: end, y1: y, y2: y, class: "axis" }));
    }
  }
  for (const x of [left, right]) {
    svg.append(element("line", { x1: x, x2: x, y1: top, y2: bottom, class: "axis" }));
  }
  if (!drawing.x.break) return;
  for (const x of drawing.x.break.map(to.x)) {
    for (const y of [top, bottom]) {
      svg.append(element("line", { x1: x - 3, x2: x + 3, y1: y + 6, y2: y - 6, class: "axis" }));
    }
  }
  const rest = drawing.bands.at(-1), middle = (to.x(rest.lower) + to.x(rest.upper)) / 2;
  svg.append(element("text", { x: middle, y: bottom + 16, "text-anchor": "middle" }, rest.name));
}

function drawAxes(svg, drawing, to) {
  const { top, bottom, left, right } = to.frame;
  let free = -Infinity; // where the next number may begin
  let deepest = 1; // lines below the axis
  for (const { at, text } of drawing.x.ticks) {
    svg.append(element("line", { x1: to.x(at), x2: to.x(at), y1: bottom, y2: bottom + 4, class: "axis" }));
    const lines = text.split(/(?<=,) /); // names of bands such as "scale 3, diagonal"
    const half = 3.2 * Math.max(...lines.map((line) => line.length));
    if (to.x(at) - half < free) continue;
    free = to.x(at) + half + 6;
    const x = Math.min(to.x(at), to.frame.width - half);
    lines.forEach((line, k) => {
      svg.append(element("text", { x, y: bottom + 16 + 13 * k, "text-anchor": "middle" }, line));
    });
    deepest = Math.max(deepest, lines.length);
  }
  for (const { at, text } of drawing.y.ticks) {
    svg.append(element("line", { x1: left - 4, x2: left, y1: to.y(at), y2: to.y(at), class: "axis" }));
    svg.append(element("text", { x: left - 7, y: to.y(at) + 4, "text-anchor": "end" }, text));
  }
  drawFrame(svg, drawing, to);
  const middle = (left + right) / 2;
  svg.append(element("text", { x: middle, y: bottom + 20 + 13 * deepest, "text-anchor": "middle" }, drawing.x.label));
  const up = (top + bottom) / 2;
  svg.append(element("text", {
    x: 14, y: up, "text-anchor": "middle", transform: `rotate(-90 14 ${up})`,
  }, drawing.y.label));
}

function drawSpread(svg, drawing, to) {
  let left = to.frame.left, at = 13;
  for (const kind of drawing.spread) {
    for (const part of parts(drawing)) {
      const [lower, upper] = [kind.lower, kind.upper].map((values) => stairs(drawing.bands, values, to, part));
      const points = [...lower, ...upper.reverse()].join(" ");
      svg.append(element("polygon", { points, fill: kind.colour, "fill-opacity": 0.2 }));
    }
    const legend = element("g", {});
    legend.append(element("line", {
      x1: left, x2: left + 24, y1: at, y2: at, stroke: kind.colour, "stroke-width": 2,
      "stroke-dasharray": kind.dash,
    }));
    legend.append(element("text", { x: left + 29, y: at + 4 }, kind.label));
    svg.append(legend);
    if (to.frame.lines > 1) at += LEGEND;
    else left += legendWidth(kind);
  }
}

function drawMedians(svg, drawing, to) {
  for (const kind of drawing.spread) {
    for (const part of parts(drawing)) {
      svg.append(element("polyline", {
        points: stairs(drawing.bands, kind.median, to, part).join(" "), class: "median",
        stroke: kind.colour, "stroke-dasharray": kind.dash,
      }));
    }
  }
}

function drawBands(svg, model, drawing, to, state) {
  const { top, bottom } = to.frame, zero = to.y(Math.min(Math.max(0, drawing.y.min), drawing.y.max));
  drawing.bands.forEach((band, k) => {
    const chosen = isSelected(model, k);
    const group = element("g", {
      role: "checkbox", "aria-checked": chosen, "aria-label": band.text, "data-band": k,
      tabindex: k === state.focus ? 0 : -1, class: chosen ? "band chosen" : "band",
    });
    const left = to.x(band.lower), wide = to.x(band.upper) - left;
    group.append(element("title", {}, band.text));
    group.append(element("rect", {
      x: left, y: top, width: wide, height: bottom - top, class: "reach",
    }));
    if (band.value === null) {
      group.append(element("rect", { x: left, y: top, width: wide, height: bottom - top, fill: drawing.no_data }));
    } else {
      const at = to.y(band.value), inset = Math.min(2, wide / 6);
      group.append(element("rect", {
        x: left + inset, width: wide - 2 * inset, y: Math.min(at, zero),
        height: Math.max(Math.abs(at - zero), 1), fill: band.colour, class: "bar",
      }));
    }
    if (chosen) {
      group.append(element("rect", { x: left, y: top, width: wide, height: bottom - top, fill: `url(#${state.hatch})`, class: "mark" }));
      const sign = drawing.operation === "keep" ? "+" : "×";
      group.append(element("text", { x: left + wide / 2, y: top + 13, "text-anchor": "middle", class: "sign" }, sign));
    }
    svg.append(group);
  });
  for (const [x1, x2] of spans(drawing, to)) {
    svg.append(element("line", { x1, x2, y1: zero, y2: zero, class: "zero" }));
  }
}

function drawProfile(model, svg, state) {
  const drawing = model.get("drawing");
  if (!drawing.bands) return;
  const focused = svg.contains(document.activeElement);
  svg.replaceChildren();
  state.focus = Math.min(state.focus, drawing.bands.length - 1);
  const whole = svg.parentElement.clientWidth || WIDEST;
  const beside = whole - PLANE;
  const room = beside >= BESIDE ? beside : whole;
  const frame = frameOf(drawing, Math.max(NARROWEST, Math.min(WIDEST, room)));
  svg.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  svg.style.width = `${frame.width}px`;
  const to = scales(drawing, frame);
  const hatch = element("pattern", {
    id: state.hatch, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  });
  hatch.append(element("line", { x1: 0, x2: 0, y1: 0, y2: 8, stroke: "#111", "stroke-width": 2, opacity: 0.45 }));
  svg.append(hatch);
  drawGround(svg, drawing, to);
  drawSpread(svg, drawing, to);
  drawBands(svg, model, drawing, to, state);
  drawMedians(svg, drawing, to);
  drawAxes(svg, drawing, to);
  if (focused) focus(svg, state.focus);
}

function focus(svg, band) {
  const group = svg.querySelector(`[data-band="${band}"]`);
  if (group) group.focus();
}

function bandOf(target) {
  const group = target.closest?.("[data-band]");
  return group ? Number(group.dataset.band) : -1;
}

function pointing(model, svg, state) {
  let painting = null; // whether dragging selects or deselects bands; null while not dragging
  svg.addEventListener("pointerdown", (event) => {
    const band = bandOf(event.target);
    if (band < 0) return;
    event.preventDefault();
    if (event.shiftKey) {
      change(model, between(state.focus, band), true);
    } else {
      painting = !isSelected(model, band);
      change(model, [band], painting);
    }
    state.focus = band;
    focus(svg, band);
  });
  svg.addEventListener("pointermove", (event) => {
    if (painting === null || !event.buttons) return;
    const band = bandOf(event.target);
    if (band >= 0 && isSelected(model, band) !== painting) change(model, [band], painting);
  });
  window.addEventListener("pointerup", () => (painting = null), { signal: state.gone });
}

function typing(model, svg, state) {
  svg.addEventListener("focusin", (event) => {
    const band = bandOf(event.target);
    if (band >= 0) state.focus = band;
  });
  svg.addEventListener("keydown", (event) => {
    const last = model.get("drawing").bands.length - 1;
    const moves = { ArrowRight: state.focus + 1, ArrowLeft: state.focus - 1, Home: 0, End: last };
    if (event.key === " " || event.key === "Enter") {
      change(model, [state.focus], !isSelected(model, state.focus));
    } else if (event.key === "Escape") {
      change(model, between(0, last), false);
    } else if (event.key in moves) {
      const from = state.focus;
      state.focus = Math.min(Math.max(moves[event.key], 0), last);
      if (event.shiftKey) change(model, between(from, state.focus), true);
      svg.querySelectorAll("[data-band]").forEach((group, k) => group.setAttribute("tabindex", k === state.focus ? 0 : -1));
      focus(svg, state.focus);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has shortcuts for most keys
  });
}

// The colour bar -------------------------------------------------------------------------------

function drawScale(model, svg) {
  const scale = model.get("drawing").scale;
  if (!scale) return;
  svg.replaceChildren();
  const top = 8, tall = 184, n = scale.colours.length;
  scale.colours.forEach((colour, k) => {
    svg.append(element("rect", { x: 2, y: top + tall - ((k + 1) * tall) / n, width: 13, height: tall / n + 0.5, fill: colour }));
  });
  svg.append(element("rect", { x: 2, y: top, width: 13, height: tall, class: "frame" }));
  scale.ticks.forEach(({ at, text }) => {
    svg.append(element("text", { x: 20, y: top + tall * (1 - at) + 4 }, text));
  });
}

// The widget -----------------------------------------------------------------------------------

let made = 0;

export default {
  render({ model, el }) {
    const ending = new AbortController();
    const state = { focus: 0, hatch: `freqlab-hatch-${made++}`, gone: ending.signal };
    el.classList.add("freqlab-picker");
    const figure = document.createElement("div");
    const canvas = document.createElement("canvas");
    const title = document.createElement("div");
    const under = document.createElement("div");
    canvas.setAttribute("role", "img");
    const bar = element("svg", { viewBox: "0 0 62 200", class: "scale", "aria-hidden": true });
    const row = document.createElement("div");
    row.className = "row";
    row.append(canvas, bar);
    title.className = "title";
    under.className = "under";
    figure.append(title, row, under);
    const svg = element("svg", { role: "group", class: "profile" });
    el.append(figure, svg);

    const draw = () => {
      const drawing = model.get("drawing");
      title.textContent = drawing.title ?? "";
      under.textContent = drawing.under ?? "";
      canvas.setAttribute("aria-label", drawing.alt ?? "");
      svg.setAttribute("aria-label", drawing.profile_alt ?? "");
      drawPlane(model, canvas);
      drawScale(model, bar);
      drawProfile(model, svg, state);
    };
    canvas.addEventListener("click", (event) => {
      const band = bandAt(model, canvas, event);
      if (band < 0) return;
      if (event.shiftKey) change(model, between(state.focus, band), true);
      else change(model, [band], !isSelected(model, band));
      state.focus = band;
      drawProfile(model, svg, state);
    });
    canvas.addEventListener("mousemove", (event) => {
      const band = bandAt(model, canvas, event);
      canvas.title = band < 0 ? "" : model.get("drawing").bands[band].text;
    });
    pointing(model, svg, state);
    typing(model, svg, state);
    // once for all changes before the next frame, and after a change of the selection is sent
    let frame = 0;
    const drawSoon = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(draw);
    };
    const changes = ["drawing", "plane", "selected"].map((name) => `change:${name}`);
    changes.forEach((name) => model.on(name, drawSoon));
    let room = 0;
    const resized = new ResizeObserver(() => {
      if (el.clientWidth === room) return;
      room = el.clientWidth;
      drawProfile(model, svg, state);
    });
    resized.observe(el);
    draw();
    return () => {
      ending.abort();
      resized.disconnect();
      cancelAnimationFrame(frame);
      changes.forEach((name) => model.off(name, drawSoon));
    };
  },
};
