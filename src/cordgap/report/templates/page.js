// The separation slider and what follows it. Every text and number was made with result.json; here
// they are chosen, drawn and shaded. Nothing is fetched, nothing leaves the page.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const slider = byId("separation");
  const levelSlider = byId("level");
  const axial = data.axial;
  const planes = axial.planes;
  const ORANGE = "#D55E00", BLUE = "#0072B2", YELLOW = "#F0E442", GREY = "#767676";
  const state = { step: Number(slider.value), plane: nearestPlane(data.gap.cord_mm[2]) };

  // As Python rounds: half to even. A number is half way only if this product is whole.
  function fixed(x, digits) {
    const scaled = Math.abs(x) * 10 ** digits;
    const half = Number.isInteger(x * 2 ** (digits + 1)) && scaled - Math.floor(scaled) === 0.5;
    if (!half) return x.toFixed(digits);
    const even = 2 * Math.round(scaled / 2);
    return (Math.sign(x) * even / 10 ** digits).toFixed(digits);
  }

  function nearestPlane(z) {
    let best = 0;
    planes.forEach((p, i) => {
      if (Math.abs(p.z_mm - z) < Math.abs(planes[best].z_mm - z)) best = i;
    });
    return best;
  }

  function node(name, text, parent) {
    const found = document.createElement(name);
    found.textContent = text;
    parent.append(found);
    return found;
  }

  // ---- numbers -------------------------------------------------------------------------------
  function showNumbers() {
    const i = state.step;
    byId("separation-text").textContent = data.steps[i] + " mm";
    slider.setAttribute("aria-valuetext", data.steps[i] + " mm");
    for (const row of data.rows) {
      const cell = document.querySelector(`[data-row="${CSS.escape(row.key)}"]`);
      cell.textContent = row.texts[i];
      cell.className = "number " + row.marks[i];
    }
    const required = data.rows[0];
    byId("separation-standing").textContent = required.texts[i];
    byId("separation-standing").className = required.marks[i];
    data.schedules.forEach((standing, k) => {
      const [words, mark] = data.standing[standing[i]];
      const cell = document.querySelector(`[data-schedule="${k}"]`);
      cell.textContent = words;
      cell.className = mark;
    });
  }

  // ---- axial plane ---------------------------------------------------------------------------
  const canvas = byId("axial");
  const pen = canvas.getContext("2d");
  const shade = document.createElement("canvas");
  const hatch = makeHatch();
  const pictures = new Map();

  function makeHatch() {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 12;
    const ink = tile.getContext("2d");
    ink.fillStyle = YELLOW;
    ink.globalAlpha = 0.7;
    ink.fillRect(0, 0, 12, 12);
    ink.globalAlpha = 1;
    ink.strokeStyle = "#000";
    ink.lineWidth = 1.6;
    ink.beginPath();
    for (const at of [-12, 0, 12]) { ink.moveTo(at, 12); ink.lineTo(at + 12, 0); }
    ink.stroke();
    return pen.createPattern(tile, "repeat");
  }

  function picture(i) {
    if (!planes[i].picture) return null;
    if (!pictures.has(i)) {
      const image = new Image();
      image.onload = () => { if (state.plane === i) drawPlane(); };
      image.src = "data:image/jpeg;base64," + planes[i].picture;
      pictures.set(i, image);
    }
    const image = pictures.get(i);
    return image.complete && image.naturalWidth ? image : null;
  }

  // Distance to the cord, between four points of the lattice.
  function lattice(near) {
    if (!near.bytes) near.bytes = Uint8Array.from(atob(near.data), (c) => c.charCodeAt(0));
    const { bytes, columns, rows } = near;
    return (x, y) => {
      const u = (x - near.x) / axial.lattice_mm, v = (y - near.y) / axial.lattice_mm;
      const i = Math.floor(u), j = Math.floor(v);
      if (i < 0 || j < 0 || i > columns - 2 || j > rows - 2) return Infinity;
      const a = u - i, b = v - j, at = j * columns + i;
      const value = (bytes[at] * (1 - a) + bytes[at + 1] * a) * (1 - b)
        + (bytes[at + columns] * (1 - a) + bytes[at + columns + 1] * a) * b;
      return axial.lowest_mm + axial.byte_mm * value;
    };
  }

  function trace(points, scale, close) {
    pen.moveTo(points[0] * scale, points[1] * scale);
    for (let k = 2; k < points.length; k += 2) pen.lineTo(points[k] * scale, points[k + 1] * scale);
    if (close) pen.closePath();
  }

  function drawRemoved(plane, size, scale) {
    const near = plane.near, s = data.steps_mm[state.step];
    if (!near || s <= 0) return;
    const mm = axial.view.size_mm, distance = lattice(near);
    shade.width = shade.height = size;
    const ink = shade.getContext("2d");
    const mask = ink.createImageData(size, size);
    const pixel = mm / size;
    const first = (at) => Math.max(0, Math.floor(at / pixel));
    const last = (at, n) => Math.min(size, Math.ceil((at + (n - 1) * axial.lattice_mm) / pixel));
    for (let j = first(near.y); j < last(near.y, near.rows); j++) {
      for (let i = first(near.x); i < last(near.x, near.columns); i++) {
        if (Math.max(distance((i + 0.5) * pixel, (j + 0.5) * pixel), 0) < s) {
          mask.data[4 * (j * size + i) + 3] = 255;
        }
      }
    }
    ink.putImageData(mask, 0, 0);
    ink.globalCompositeOperation = "source-in";
    ink.fillStyle = hatch;
    ink.fillRect(0, 0, size, size);
    pen.save();
    pen.beginPath();
    plane.rings[0].forEach((ring) => trace(ring, scale, true));
    pen.clip("evenodd");
    if (plane.centre && data.sextants.some((x) => !x.reachable)) clipSextants(plane, scale, size);
    pen.drawImage(shade, 0, 0);
    pen.restore();
  }

  // Only what surgery can clear: sextant k reaches 30 degrees to both sides of 60 k, from anterior.
  function clipSextants(plane, scale, size) {
    const [x, y] = [plane.centre[0] * scale, plane.centre[1] * scale];
    pen.beginPath();
    data.sextants.forEach((sextant, k) => {
      if (!sextant.reachable) return;
      pen.moveTo(x, y);
      for (const edge of [-30, 0, 30]) {
        const angle = (60 * k + edge) * Math.PI / 180;
        pen.lineTo(x + 3 * size * Math.sin(angle), y - 3 * size * Math.cos(angle));
      }
      pen.closePath();
    });
    pen.clip();
  }

  function words(text, x, y, align, font) {
    pen.font = font || "600 15px system-ui, sans-serif";
    pen.textAlign = align || "center";
    pen.textBaseline = "middle";
    pen.lineWidth = 3.5;
    pen.strokeStyle = axial.has_ct ? "#000" : "#fff";
    pen.fillStyle = axial.has_ct ? "#fff" : "#000";
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  }

  function drawIsodoses(plane, scale, size) {
    const ink = axial.has_ct ? "#fff" : "#333", taken = [];
    for (const isodose of plane.isodoses) {
      pen.setLineDash(isodose.kind === "limit" ? [9, 5] : []);
      for (const [width, colour] of [[3, axial.has_ct ? "#000" : "#fff"],
        [isodose.kind === "limit" ? 2.4 : 1.2, ink]]) {
        pen.lineWidth = width;
        pen.strokeStyle = colour;
        pen.beginPath();
        isodose.lines.forEach((line) => trace(line, scale, false));
        pen.stroke();
      }
    }
    pen.setLineDash([]);
    for (const isodose of plane.isodoses) {
      const place = labelPlace(isodose.lines, scale, size, taken);
      if (place) words(isodose.words, place[0], place[1], "center", "600 13px system-ui, sans-serif");
    }
  }

  // On the longest line, away from the middle, the edge and other labels.
  function labelPlace(lines, scale, size, taken) {
    const line = lines.reduce((a, b) => (b.length > a.length ? b : a));
    let best = null, most = 0;
    for (let k = 0; k < line.length; k += 2) {
      const x = line[k] * scale, y = line[k + 1] * scale;
      const edge = Math.min(x, y, size - x, size - y);
      if (edge < 0.07 * size) continue;
      let free = Math.min(edge, Math.hypot(x - size / 2, y - size / 2), 0.18 * size);
      for (const [a, b] of taken) free = Math.min(free, Math.hypot(x - a, 1.6 * (y - b)));
      if (free > most) { most = free; best = [x, y]; }
    }
    if (!best || most < 22) return null;
    taken.push(best);
    return best;
  }

  function drawGap(plane, scale) {
    const [a, b] = [data.gap.cord_mm, data.gap.target_mm];
    if (Math.abs((a[2] + b[2]) / 2 - plane.z_mm) > Math.max(axial.step_mm, 1) / 2 + 1e-6) return;
    const at = (p) => [100 * (p[0] - axial.view.left_mm) * scale, 100 * (p[1] - axial.view.front_mm) * scale];
    const [p, q] = [at(a), at(b)];
    pen.lineWidth = 3;
    pen.strokeStyle = "#000";
    pen.beginPath();
    pen.moveTo(...p);
    pen.lineTo(...q);
    pen.stroke();
    for (const dot of [p, q]) {
      pen.beginPath();
      pen.arc(dot[0], dot[1], 4, 0, 7);
      pen.fillStyle = "#fff";
      pen.fill();
      pen.stroke();
    }
    words(data.gap.words, q[0] + 60, q[1] - 16);
  }

  function drawPlane() {
    const plane = planes[state.plane], size = canvas.width;
    const scale = size / axial.view.size_mm / 100;
    pen.clearRect(0, 0, size, size);
    const image = picture(state.plane);
    pen.fillStyle = axial.has_ct ? "#000" : "#fff";
    pen.fillRect(0, 0, size, size);
    if (image) pen.drawImage(image, 0, 0, size, size);
    drawRemoved(plane, size, scale);
    drawIsodoses(plane, scale, size);
    plane.rings.forEach((rings, k) => {
      for (const [width, colour] of [[5, "#fff"], [2.8, axial.structures[k].colour]]) {
        pen.lineWidth = width;
        pen.strokeStyle = colour;
        pen.beginPath();
        rings.forEach((ring) => trace(ring, scale, true));
        pen.stroke();
      }
    });
    drawGap(plane, scale);
    const big = "700 22px system-ui, sans-serif";
    words("R", 18, size / 2, "center", big);
    words("L", size - 18, size / 2, "center", big);
    words("A", size / 2, 18, "center", big);
    words("P", size / 2, size - 18, "center", big);
    const bar = 1000 * scale;
    pen.lineWidth = 4;
    pen.strokeStyle = axial.has_ct ? "#fff" : "#000";
    pen.beginPath();
    pen.moveTo(26, size - 24);
    pen.lineTo(26 + bar, size - 24);
    pen.stroke();
    words("10 mm", 26 + bar / 2, size - 40, "center", "600 13px system-ui, sans-serif");
    const title = `Axial z = ${plane.z} mm; ${plane.label}`;
    byId("plane-title").textContent = title;
    canvas.setAttribute("aria-valuenow", state.plane);
    canvas.setAttribute("aria-valuetext", title);
    levelSlider.value = state.plane;
    levelSlider.setAttribute("aria-valuetext", title);
  }

  function makeLegend() {
    const list = byId("legend");
    axial.structures.forEach((x) => {
      const item = node("li", "", list);
      node("i", "", item).style.borderTop = `4px solid ${x.colour}`;
      node("span", x.name, item);
    });
    const item = node("li", "", list);
    node("i", "", item).className = "hatched";
    node("span", "closer to the cord than the separation", item);
    if (data.dvh.limit_gy !== null) {
      const line = node("li", "", list);
      node("i", "", line).style.borderTop = "3px dashed #595959";
      node("span", "dose of the cord limit", line);
    }
  }

  // ---- map -----------------------------------------------------------------------------------
  const font = { family: "system-ui, sans-serif", size: 13, color: "#1a1a1a" };
  const config = { displayModeBar: false, responsive: true, doubleClick: false };
  const gaps = data.map.gap_mm.map((row) => row.map((g) => (g === null ? NaN : g)));
  const flat = gaps.flat().filter((g) => !Number.isNaN(g));
  const topGap = Math.max(flat.length ? Math.max(...flat) : 1, 1);

  function mapWords(row, column) {
    const g = data.map.gap_mm[row][column], s = data.steps_mm[state.step];
    const where = `${data.map.sextant[column]}, z ${fixed(data.map.level_mm[row], 1)} mm: `;
    if (g === null) return where + "over 20 mm";
    return `${where}gap ${fixed(g, 1)} mm; ${fixed(Math.max(0, s - g), 1)} mm missing to ${data.steps[state.step]}`;
  }

  function mapColours() {
    const s = data.steps_mm[state.step], at = Math.min(s / topGap, 1);
    if (at <= 0) return [[0, "#FFFFFF"], [1, BLUE]];
    if (at >= 1) return [[0, ORANGE], [1, "#F9DFCC"]];
    return [[0, ORANGE], [at, "#F9DFCC"], [at, "#FFFFFF"], [1, BLUE]];
  }

  function levelLine() {
    return [
      ...[-150, -90, -30, 30, 90, 150].map((x) => ({
        type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1,
        line: { color: GREY, width: 1, dash: "dot" },
      })),
      { type: "line", xref: "paper", x0: 0, x1: 1, y0: planes[state.plane].z_mm,
        y1: planes[state.plane].z_mm, line: { color: "#000", width: 2 } },
    ];
  }

  // Words where there is room for them.
  function sides() {
    const wide = byId("map").clientWidth > 460;
    return wide ? ["posterior", "RIGHT", "anterior", "LEFT", "posterior"] : ["post.", "R", "ant.", "L", "post."];
  }

  function drawMap() {
    const { direction_deg: x, level_mm: y } = data.map;
    const s = data.steps_mm[state.step];
    Plotly.react("map", [
      { type: "heatmap", x, y, z: gaps, zmin: 0, zmax: topGap, colorscale: mapColours(),
        text: gaps.map((row, i) => row.map((_, j) => mapWords(i, j))), hovertemplate: "%{text}<extra></extra>",
        colorbar: { title: { text: "Gap [mm]", side: "right" }, thickness: 12 }, hoverongaps: true },
      { type: "contour", x, y, z: gaps, showscale: false, hoverinfo: "skip", connectgaps: false,
        contours: { start: s, end: s, size: 1, coloring: "none" }, line: { color: "#000", width: 1.6 },
        visible: s > 0 && s < topGap && y.length > 1 },
    ], {
      font, margin: { l: 56, r: 8, t: 26, b: 42 }, shapes: levelLine(), plot_bgcolor: "#D9D9D9",
      xaxis: { tickvals: [-180, -90, 0, 90, 180], fixedrange: true, range: [-182, 182],
        ticktext: sides(), tickangle: 0 },
      yaxis: { title: { text: "Level z [mm], towards the head" }, fixedrange: true,
        range: [y[0] - 0.5 * axial.step_mm, y[y.length - 1] + 0.5 * axial.step_mm] },
      annotations: flat.length ? [] : [{ text: "no gap within 20 mm", showarrow: false,
        xref: "paper", yref: "paper", x: 0.5, y: 0.55 }],
    }, config);
  }

  // ---- histograms ----------------------------------------------------------------------------
  function percent(volumes, whole) {
    return volumes.map((v) => (whole > 0 ? 100 * v / whole : 0));
  }

  function leftCurve() {
    const row = data.dvh.left.volume_cc[state.step] || [];
    return percent(row, row[0]);
  }

  function drawDvh() {
    const used = new Map();
    const curves = data.dvh.curves.map((c) => {
      const n = used.get(c.colour) || 0;
      used.set(c.colour, n + 1);
      return { type: "scatter", mode: "lines", name: shortened(c.name), x: c.dose_gy,
        y: percent(c.volume_cc, c.whole_cc), customdata: c.volume_cc,
        line: { color: c.colour, width: 2, dash: ["solid", "dash", "dot", "dashdot"][n % 4] },
        hovertemplate: "%{x:.1f} Gy: %{y:.1f} %, %{customdata:.2f} cc" };
    });
    const mark = (points, name, symbol) => ({ type: "scatter", mode: "markers", name,
      x: points.map((p) => p.dose_gy), y: points.map((p) => p.percent),
      text: points.map((p) => escaped(p.words)), hovertemplate: "%{text}<extra></extra>", cliponaxis: false,
      marker: { symbol, size: 12, color: "#FFFFFF", line: { color: "#000", width: 2 } } });
    const traces = [...curves];
    if (data.dvh.left.dose_gy.length) {
      traces.push({ type: "scatter", mode: "lines", name: shortened(data.dvh.target) + " left",
        x: data.dvh.left.dose_gy, y: leftCurve(), line: { color: "#000", width: 2.4, dash: "dash" },
        hovertemplate: "%{x:.1f} Gy: %{y:.1f} % of what is left" });
    }
    if (data.dvh.limits.length) traces.push(mark(data.dvh.limits, "limits", "triangle-left"));
    if (data.dvh.goals.length) traces.push(mark(data.dvh.goals, "goals", "diamond"));
    Plotly.react("dvh", traces, {
      font, margin: { l: 48, r: 12, t: 8, b: 42 }, hovermode: "closest",
      legend: { orientation: "h", y: -0.24, yanchor: "top" },
      xaxis: { title: { text: "Dose [Gy]", standoff: 4 }, rangemode: "tozero", fixedrange: true },
      yaxis: { title: { text: "Volume [%]" }, range: [0, 103], fixedrange: true },
      shapes: data.dvh.rx_gy === null ? [] : [{ type: "line", x0: data.dvh.rx_gy, x1: data.dvh.rx_gy,
        yref: "paper", y0: 0, y1: 1, line: { color: GREY, width: 1, dash: "dot" } }],
    }, config);
  }

  // plotly reads some HTML in names: nothing of it may get through.
  function escaped(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function shortened(text) {
    return escaped(text.length > 28 ? text.slice(0, 27) + "…" : text);
  }

  // ---- what happens --------------------------------------------------------------------------
  let waiting = false;
  function setStep(step) {
    state.step = Math.min(Math.max(step, 0), data.steps.length - 1);
    slider.value = state.step;
    showNumbers();
    if (planes.length) drawPlane();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawMap();
      drawDvh();
    });
  }

  function setPlane(i) {
    state.plane = Math.min(Math.max(i, 0), planes.length - 1);
    drawPlane();
    Plotly.relayout("map", { shapes: levelLine() });
  }

  function start() {
    if (!planes.length) return;
    levelSlider.max = planes.length - 1;
    canvas.setAttribute("aria-valuemax", planes.length - 1);
    makeLegend();
    showNumbers();
    drawPlane();
    drawMap();
    drawDvh();
    slider.addEventListener("input", () => setStep(Number(slider.value)));
    levelSlider.addEventListener("input", () => setPlane(Number(levelSlider.value)));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      setPlane(state.plane - Math.sign(event.deltaY));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10,
        PageDown: -10, Home: -planes.length, End: planes.length };
      if (!(event.key in moves)) return;
      event.preventDefault();
      setPlane(state.plane + moves[event.key]);
    });
    const map = byId("map");
    map.on("plotly_hover", (event) => {
      const [row, column] = event.points[0].pointIndex;
      byId("map-text").textContent = mapWords(row, column);
    });
    map.on("plotly_click", (event) => setPlane(nearestPlane(event.points[0].y)));
    document.documentElement.dataset.readyMs = performance.now().toFixed(0);
  }

  start();
})();
