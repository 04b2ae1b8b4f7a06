// Filters, figures and counts of the page of trends, all of one selection of the plans that the page
// holds. Nothing is fetched, nothing leaves the page.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const BLUE = "#0072B2", ORANGE = "#D55E00", GREEN = "#009E73", PURPLE = "#CC79A7", YELLOW = "#E69F00",
    SKY = "#56B4E9", GREY = "#767676";
  const COLOURS = [BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x"];
  const SHARES = [0.05, 0.25, 0.5, 0.75, 0.95];
  // Points of a figure, names of a list and of an axis, rows of a table: as many as stay readable.
  const MOST_POINTS = 2000, MOST_NAMES = 200, MOST_BOXES = 24, MOST_LISTED = 50;
  // Values are kept to 1e-4: less than this beyond a limit is rounding.
  const ROUNDING = 1e-6;
  const NOT_KNOWN = -1;
  const rows = [...Array(data.rows).keys()];
  const { words, numbers } = data;
  const CHARTED = [["cord_d0035cc_gy", "D0.035cc", "dose"], ["headroom_gy", "headroom", "headroom"]];
  const STATUS = words.status.words;

  // ---- small things ----------------------------------------------------------------------------
  const word = (kind, row) => (words[kind].codes[row] < 0 ? null : words[kind].words[words[kind].codes[row]]);
  const isOk = (row) => word("status", row) === "ok";
  const iso = (day) => new Date(day * 86400000).toISOString().slice(0, 10);
  const month = (m) => (m === null ? "–" : `${String(Math.floor(m / 12)).padStart(4, "0")}-${String(m % 12 + 1).padStart(2, "0")}`);
  function fixed(x, digits = 2) {
    if (x === null || x === undefined) return "–";
    const text = x.toFixed(digits);
    return Number(text) === 0 ? (0).toFixed(digits) : text;
  }
  const grouped = (n) => n.toLocaleString("en-US");
  const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;
  // plotly reads some HTML in names: nothing of it may get through.
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shortened = (text, most = 24) => escaped(text.length > most ? text.slice(0, most - 1) + "…" : text);

  // Between the values next to it, in a straight line.
  function quantile(sorted, share) {
    const at = share * (sorted.length - 1), low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  }

  function quantiles(values) {
    const sorted = Float64Array.from(values).sort();
    return SHARES.map((share) => quantile(sorted, share));
  }

  function fill(id, lines) {
    const body = byId(id).tBodies[0];
    const columns = byId(id).tHead.rows[0].cells.length;
    body.replaceChildren(...(lines.length ? lines : [[{ text: "none", span: columns }]]).map((cells) => {
      const line = document.createElement("tr");
      cells.forEach((cell, i) => {
        const { text, value, href, span } = typeof cell === "object" && cell !== null ? cell : { text: cell };
        const made = document.createElement(i ? "td" : "th");
        if (!i && !span) made.scope = "row";
        if (span) made.colSpan = span;
        if (value !== undefined) {
          made.className = "number";
          made.dataset.value = value === null ? "" : value;
        }
        if (href) {
          const link = document.createElement("a");
          link.href = href;
          link.textContent = text;
          made.append(link);
        } else made.textContent = text;
        line.append(made);
      });
      return line;
    }));
  }

  const cell = (value, digits) => ({ text: fixed(value, digits), value });
  const whole = (value) => ({ text: grouped(value), value });

  // ---- filters ---------------------------------------------------------------------------------
  const LISTED = ["machine", "planner", "protocol", "cord", "target"];
  const fractions = [...new Set(data.fractions)].filter((f) => f !== null).sort((a, b) => a - b);

  function options(id, entries) {
    byId(id).replaceChildren(...[["", "all"], ...entries].map(([value, text]) => {
      const made = document.createElement("option");
      made.value = value;
      made.textContent = text;
      return made;
    }));
  }

  function makeFilters() {
    options("status", STATUS.map((s, code) => [code, s]));
    options("verdict", [["met", "met"], ["exceeded", "a limit is exceeded"], ["open", "not evaluable"]]);
    options("fractions", [...fractions.map((f) => [f, f]), ...(data.fractions.includes(null) ? [[NOT_KNOWN, "not known"]] : [])]);
    for (const kind of LISTED) {
      const names = words[kind].words;
      const entries = names.slice(0, MOST_NAMES).map((name, code) => [code, name.length > 60 ? name.slice(0, 59) + "…" : name]);
      if (names.length > MOST_NAMES) entries.push([MOST_NAMES, `${grouped(names.length - MOST_NAMES)} rarer names`]);
      if (words[kind].codes.includes(-1)) entries.push([NOT_KNOWN, "not known"]);
      options(kind, entries);
    }
    byId("from").value = data.since ?? "";
  }

  function verdictOf(row) {
    if (!isOk(row)) return "";
    return data.exceeded[row] ? "exceeded" : data.evaluable[row] ? "met" : "open";
  }

  // What the limits are of: all but time, status and verdict.
  function baseline() {
    const wanted = byId("fractions").value;
    const tests = LISTED.filter((kind) => byId(kind).value !== "").map((kind) => {
      const code = Number(byId(kind).value), { codes } = words[kind];
      return (row) => (code === MOST_NAMES ? codes[row] >= code : codes[row] === code);
    });
    if (wanted !== "") tests.push((row) => (data.fractions[row] ?? NOT_KNOWN) === Number(wanted));
    return rows.filter((row) => tests.every((test) => test(row)));
  }

  function bound(id) {
    const text = byId(id).value;
    if (!text) return null;
    const [year, m] = text.split("-").map(Number);
    return byId("time").value === "planned" ? 12 * year + m - 1 : Date.parse(text) / 86400000;
  }

  function chosen(base) {
    const status = byId("status").value, verdict = byId("verdict").value;
    const from = bound("from"), to = bound("to");
    const when = byId("time").value === "planned" ? data.plan_month : data.analysed_day;
    return base.filter((row) => (status === "" || words.status.codes[row] === Number(status))
      && (verdict === "" || verdictOf(row) === verdict)
      && ((from === null && to === null) || (when[row] !== null && (from === null || when[row] >= from) && (to === null || when[row] <= to))));
  }

  // ---- control limits --------------------------------------------------------------------------
  function limitsOf(base, measure) {
    const found = new Map();
    for (const f of fractions) {
      const values = base.filter((row) => data.fractions[row] === f && numbers[measure][row] !== null).map((row) => numbers[measure][row]);
      if (!values.length) continue;
      const ranges = values.slice(1).map((x, i) => Math.abs(x - values[i]));
      const middle = mean(values), enough = values.length >= data.rule.fewest;
      const half = enough ? data.rule.moving_ranges * mean(ranges) : null;
      found.set(f, { plans: values.length, mean: middle, half, lower: enough ? middle - half : null, upper: enough ? middle + half : null });
    }
    return found;
  }

  function side(limits, row, measure) {
    const own = limits[measure].get(data.fractions[row]), value = numbers[measure][row];
    if (value === null || !own || own.half === null) return 0;
    return value > own.upper + ROUNDING ? 1 : value < own.lower - ROUNDING ? -1 : 0;
  }

  // ---- figures ---------------------------------------------------------------------------------
  const font = { family: "system-ui, sans-serif", size: 13, color: "#1a1a1a" };
  const config = { displayModeBar: false, responsive: true, doubleClick: false };
  const legend = { orientation: "h", y: -0.22, yanchor: "top" };

  function draw(id, traces, layout, words, count) {
    byId(id).setAttribute("aria-label", words);
    if (!count) layout = { xaxis: { visible: false }, yaxis: { visible: false } };
    Plotly.react(id, traces, {
      font, margin: { l: 56, r: 12, t: 10, b: 44 }, hovermode: "closest", legend, showlegend: true, ...layout,
      annotations: count ? [] : [{ text: "no plan to show", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }],
    }, config);
  }

  // Every k-th of the plans; those to keep stay, as long as they are not too many themselves.
  function thinned(list, keep = () => false) {
    if (list.length <= MOST_POINTS) return { drawn: list, note: "" };
    const every = (part, most) => {
      const step = Math.max(1, Math.ceil(part.length / Math.max(most, 1)));
      return { step, part: part.filter((_, i) => i % step === 0) };
    };
    const kept = every(list.filter(keep), MOST_POINTS / 2);
    const rest = every(list.filter((row) => !keep(row)), MOST_POINTS - kept.part.length);
    const drawn = [...kept.part, ...rest.part].sort((a, b) => a - b);
    const outside = kept.part.length ? `${kept.step === 1 ? "all" : `one of ${kept.step}`} outside the limits and ` : "";
    return { drawn, note: `${grouped(drawn.length)} of ${grouped(list.length)} points are drawn: ${outside}one of ${rest.step} of the others; limits and counts are of all.` };
  }

  function drawControl(selection, limits) {
    const overTime = byId("across").value === "time", planned = byId("time").value === "planned";
    for (const [measure, name, id] of CHARTED) {
      const there = selection.filter((row) => numbers[measure][row] !== null
        && (!overTime || (planned ? data.plan_month : data.analysed_day)[row] !== null));
      const place = new Map(there.map((row, i) => [row, i + 1]));
      const x = (row) => (!overTime ? place.get(row) : planned ? `${month(data.plan_month[row])}-01` : iso(data.analysed_day[row]));
      const isOut = (row) => side(limits, row, measure) !== 0;
      const { drawn, note } = thinned(there, isOut);
      const without = there.length && ![...limits[measure].values()].some((own) => own.half !== null);
      byId(`${id}-note`).textContent = without ? `No control limits: fewer than ${data.rule.fewest} plans of each number of fractions.` : note;
      const ends = overTime ? [...there.map(x)].sort().filter((_, i, all) => i === 0 || i === all.length - 1) : [0.5, there.length + 0.5];
      const traces = [];
      [...fractions, null].forEach((f) => {
        const part = drawn.filter((row) => data.fractions[row] === f);
        if (!part.length) return;
        const k = fractions.indexOf(f), colour = k < 0 ? GREY : COLOURS[k % COLOURS.length];
        traces.push({ type: "scatter", mode: "markers", cliponaxis: false, x: part.map(x), y: part.map((row) => numbers[measure][row]),
          name: f === null ? "fractions not known" : `${f} fraction${f === 1 ? "" : "s"}`, customdata: part.map((row) => [data.plan_id[row], fixed(numbers[measure][row])]),
          hovertemplate: "plan %{customdata[0]}: %{customdata[1]} Gy",
          marker: { color: colour, symbol: SYMBOLS[Math.max(k, 0) % SYMBOLS.length], size: drawn.length > 400 ? 4 : 7, opacity: 0.75 } });
        const own = limits[measure].get(f);
        if (!own || own.half === null || !ends.length) return;
        for (const [level, dash] of [[own.lower, "dash"], [own.mean, "solid"], [own.upper, "dash"]]) {
          traces.push({ type: "scatter", mode: "lines", x: [ends[0], ends[ends.length - 1]], y: [level, level], showlegend: false, hoverinfo: "skip",
            line: { color: colour, width: dash === "dash" ? 1.5 : 1, dash } });
        }
      });
      const out = drawn.filter(isOut);
      if (out.length) {
        traces.push({ type: "scatter", mode: "markers", cliponaxis: false, name: "outside its limits", x: out.map(x), y: out.map((row) => numbers[measure][row]), hoverinfo: "skip",
          marker: { symbol: "circle-open", size: 13, color: "#000", line: { width: 2 } } });
      }
      draw(id, traces, {
        xaxis: overTime ? { type: "date", fixedrange: true } : { type: "linear", title: { text: "plan", standoff: 4 }, range: [0, there.length + 1], fixedrange: true },
        yaxis: { title: { text: `${name} [Gy]` }, fixedrange: true },
        shapes: measure === "headroom_gy" ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0, line: { color: "#000", width: 2 } }] : [],
      }, `${name} of the cord in ${there.length} plans with control limits; numbers are in the tables below`, there.length);
    }
    fill("control", CHARTED.flatMap(([measure, name]) => [...limits[measure]].map(([f, own]) => [
      `${name}, ${f}`, whole(own.plans), cell(own.mean), cell(own.lower), cell(own.upper),
      own.half === null ? { text: `fewer than ${data.rule.fewest} plans`, value: null }
        : whole(selection.filter((row) => data.fractions[row] === f && side(limits, row, measure)).length)])));
  }

  function showOutliers(selection, limits) {
    const far = (row) => Math.max(...CHARTED.map(([measure]) => {
      const own = limits[measure].get(data.fractions[row]);
      return side(limits, row, measure) ? Math.abs(numbers[measure][row] - own.mean) / Math.max(own.half, ROUNDING) : 0;
    }));
    const found = selection.map((row) => [row, far(row)]).filter(([row, distance]) => distance || (isOk(row) && data.exceeded[row]));
    found.sort(([a, p], [b, q]) => q - p || (numbers.headroom_gy[a] ?? 0) - (numbers.headroom_gy[b] ?? 0) || a - b);
    fill("outliers", found.slice(0, MOST_LISTED).map(([row]) => {
      const why = CHARTED.flatMap(([measure, name]) => {
        const way = side(limits, row, measure), own = limits[measure].get(data.fractions[row]);
        return way ? [`${name} ${way > 0 ? "above" : "below"} ${fixed(way > 0 ? own.upper : own.lower)}`] : [];
      });
      if (data.exceeded[row]) why.push("exceeds a limit");
      const id = data.plan_id[row], there = data.reports[row];
      return [id, month(data.plan_month[row]), { text: data.fractions[row] ?? "–", value: data.fractions[row] }, cell(numbers.cord_d0035cc_gy[row]),
        cell(numbers.headroom_gy[row]), why.join("; "), there ? { text: "report", href: `${data.reports_at}/${encodeURIComponent(id)}/report.html` } : "–"];
    }));
    byId("outliers-note").textContent = found.length > MOST_LISTED ? `The first ${MOST_LISTED} of ${grouped(found.length)}.` : "";
  }

  function boxes(id, entries, title, words) {
    const part = entries.slice(0, MOST_BOXES);
    const pick = (k) => part.map((entry) => entry.q[k]);
    draw(id, part.length ? [{ type: "box", x: part.map((_, i) => i), lowerfence: pick(0), q1: pick(1), median: pick(2), q3: pick(3), upperfence: pick(4),
      width: 0.6, line: { color: BLUE, width: 2 }, fillcolor: "#CCE3F0", showlegend: false }] : [], {
      margin: { l: 56, r: 12, t: 10, b: 84 },
      xaxis: { tickvals: part.map((_, i) => i), ticktext: part.map((entry) => shortened(entry.name, 10)), tickangle: -45, fixedrange: true },
      yaxis: { title: { text: title }, fixedrange: true, rangemode: "tozero" },
    }, words, part.length);
  }

  function drawSchedules(selected) {
    const lines = data.schedules.map((schedule) => {
      let row = 0, missing = 0;
      const values = [];
      schedule.steps.forEach((step, i) => {
        row += step;
        if (!selected.has(row)) return;
        if (schedule.required_mm[i] === null) missing += 1;
        else values.push(schedule.required_mm[i]);
      });
      return { name: `${schedule.dose_gy} Gy/${schedule.fractions}`, values, missing };
    }).filter((line) => line.values.length || line.missing);
    for (const line of lines) line.q = line.values.length ? quantiles(line.values) : null;
    // A schedule that few plans have (their own) is in the table.
    const usual = lines.filter((line) => line.q).sort((a, b) => b.values.length - a.values.length).slice(0, MOST_BOXES);
    boxes("needs", lines.filter((line) => usual.includes(line)), "required separation [mm]", `Required separation for ${usual.length} schedules; numbers are in the table below`);
    fill("schedules", lines.map((line) => [line.name, whole(line.values.length), whole(line.missing), ...(line.q ?? Array(5).fill(null)).map((x) => cell(x))]));
  }

  function drawCoverage(selection) {
    const there = selection.filter((row) => numbers.separation_mm[row] !== null && numbers.coverage_value[row] !== null && word("coverage_metric", row) !== null);
    const count = new Map();
    there.forEach((row) => count.set(word("coverage_metric", row), (count.get(word("coverage_metric", row)) ?? 0) + 1));
    const goals = [...count].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    const metric = goals.length ? goals[0][0] : "coverage";
    const shown = there.filter((row) => word("coverage_metric", row) === metric);
    const { drawn, note } = thinned(shown);
    const limits = [...new Set(shown.map((row) => numbers.coverage_goal[row]))];
    byId("coverage-note").textContent = [goals.length > 1 ? `${grouped(there.length - shown.length)} plans with other goals are not drawn.` : "", note].join(" ");
    const part = (keep, name, colour, symbol) => {
      const some = drawn.filter((row) => Boolean(data.exceeded[row]) === keep);
      return { type: "scatter", mode: "markers", cliponaxis: false, name, x: some.map((row) => numbers.separation_mm[row]), y: some.map((row) => numbers.coverage_value[row]),
        customdata: some.map((row) => data.plan_id[row]), hovertemplate: "plan %{customdata}: %{x:.1f} mm, %{y:.1f}",
        marker: { color: colour, symbol, size: drawn.length > 400 ? 4 : 7, opacity: 0.75 } };
    };
    draw("coverage", shown.length ? [part(false, "no limit exceeded", BLUE, "circle"), part(true, "a limit exceeded", ORANGE, "x")] : [], {
      xaxis: { title: { text: "separation [mm]", standoff: 4 }, rangemode: "tozero", fixedrange: true },
      yaxis: { title: { text: escaped(metric) }, fixedrange: true },
      shapes: limits.length === 1 && limits[0] !== null ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: limits[0], y1: limits[0], line: { color: "#000", width: 1.5, dash: "dash" } }] : [],
    }, `${metric} against separation of ${shown.length} plans`, shown.length);
    fill("coverages", goals.map(([name, n]) => {
      const of = there.filter((row) => word("coverage_metric", row) === name && numbers.coverage_goal[row] !== null);
      const met = of.filter((row) => numbers.coverage_value[row] >= numbers.coverage_goal[row]).length;
      return [name, whole(n), whole(met), whole(of.length - met)];
    }));
  }

  function drawPairs(selected) {
    const there = data.pairs.filter(([row, , predicted, , , , achieved]) => selected.has(row) && predicted !== null && achieved !== null);
    const without = data.pairs.filter(([row]) => selected.has(row)).length - there.length;
    const { drawn, note } = thinned(there);
    const old = data.pairs_out_of_date;
    byId("pairs-note").textContent = [without ? `${grouped(without)} without a number.` : "",
      old ? `${grouped(old)} of earlier results are left out: run batch --pairs again.` : "", note].join(" ");
    const top = Math.max(1, ...there.map((pair) => Math.max(pair[4] ?? pair[2], pair[6])));
    const traces = there.length ? [{ type: "scatter", mode: "lines", x: [0, top], y: [0, top], name: "as predicted", hoverinfo: "skip", line: { color: "#000", width: 1.5, dash: "dash" } }] : [];
    for (const [enough, name, colour, symbol] of [[true, "enough room was made", BLUE, "circle"], [false, "less than predicted", ORANGE, "x"]]) {
      const part = drawn.filter((pair) => (pair[6] >= pair[2]) === enough);
      if (!part.length) continue;
      traces.push({ type: "scatter", mode: "markers", cliponaxis: false, name, x: part.map((p) => p[2]), y: part.map((p) => p[6]), customdata: part.map((p) => data.plan_id[p[0]]),
        hovertemplate: "plan %{customdata}: predicted %{x:.1f} mm, achieved %{y:.1f} mm", marker: { color: colour, symbol, size: 8 },
        error_x: { type: "data", symmetric: false, array: part.map((p) => Math.max(0, (p[4] ?? p[2]) - p[2])), arrayminus: part.map((p) => Math.max(0, p[2] - (p[3] ?? p[2]))), color: colour, thickness: 1, width: 3 } });
    }
    draw("pairs", traces, {
      xaxis: { title: { text: "required, predicted before [mm]", standoff: 4 }, rangemode: "tozero", fixedrange: true },
      yaxis: { title: { text: "separation achieved [mm]" }, rangemode: "tozero", fixedrange: true },
    }, `Predicted against achieved separation of ${there.length} pairs of plans`, there.length);
    fill("comparisons", there.slice(0, MOST_LISTED).map(([row, , predicted, low, high, before, achieved]) => [
      data.plan_id[row], cell(predicted), { text: `${fixed(low)}–${fixed(high)}`, value: null }, cell(before), cell(achieved)]));
  }

  function drawGradients(selection) {
    const kind = byId("by").value, groups = new Map();
    selection.forEach((row) => {
      const value = numbers.gradient_percent_per_mm[row];
      if (value === null) return;
      const code = words[kind].codes[row];
      if (!groups.has(code)) groups.set(code, []);
      groups.get(code).push(value);
    });
    const entries = [...groups].map(([code, values]) => ({ code, name: code < 0 ? "not known" : words[kind].words[code], plans: values.length, q: quantiles(values) }))
      .sort((a, b) => b.plans - a.plans || a.code - b.code);
    byId("gradient-note").textContent = entries.length > MOST_BOXES ? `${MOST_BOXES} of ${grouped(entries.length)} are drawn, those with most plans.` : "";
    boxes("gradient", entries, "% per mm", `Fall-off near the cord by ${kind}; numbers are in the table below`);
    fill("gradients", entries.slice(0, MOST_NAMES).map((entry) => [entry.name, whole(entry.plans), ...entry.q.map((x) => cell(x))]));
  }

  function drawCauses(selection) {
    const count = new Map();
    selection.filter((row) => !isOk(row)).forEach((row) => {
      const key = `${words.code.codes[row]} ${words.status.codes[row]}`;
      count.set(key, (count.get(key) ?? 0) + 1);
    });
    const entries = [...count].map(([key, n]) => {
      const [code, status] = key.split(" ").map(Number);
      return { code: code < 0 ? "not known" : words.code.words[code], status: STATUS[status], n };
    }).sort((a, b) => b.n - a.n || (a.code < b.code ? -1 : 1));
    const names = [...new Set(entries.map((entry) => entry.code))].slice(0, MOST_BOXES).reverse();
    const traces = [["refused", BLUE, ""], ["failed", ORANGE, "/"], ["timeout", YELLOW, "x"]].map(([status, colour, shape]) => {
      const part = entries.filter((entry) => entry.status === status && names.includes(entry.code));
      return { type: "bar", orientation: "h", name: status, y: part.map((entry) => names.indexOf(entry.code)), x: part.map((entry) => entry.n),
        hovertemplate: "%{x} plans", marker: { color: colour, pattern: { shape, fgcolor: "#000", size: 6 } } };
    }).filter((trace) => trace.x.length);
    draw("causes", traces, {
      barmode: "stack", margin: { l: 150, r: 12, t: 10, b: 44 }, legend: { orientation: "h", y: -0.3, yanchor: "top" },
      xaxis: { title: { text: "plans", standoff: 4 }, fixedrange: true, rangemode: "tozero" },
      yaxis: { tickvals: names.map((_, i) => i), ticktext: names.map((name) => shortened(name, 20)), fixedrange: true, range: [-0.6, names.length - 0.4] },
    }, `Plans without a result by cause: ${entries.slice(0, 5).map((entry) => `${entry.n} ${entry.status}, ${entry.code}`).join("; ")}`, entries.length);
    fill("reasons", entries.map((entry) => [entry.code, entry.status, whole(entry.n)]));
  }

  // ---- what happens ----------------------------------------------------------------------------
  function update() {
    const base = baseline(), selection = chosen(base), selected = new Set(selection);
    const limits = Object.fromEntries(CHARTED.map(([measure]) => [measure, limitsOf(base, measure)]));
    const counts = { plans: selection.length, exceeded: 0, not_evaluable: 0, out_of_control: 0, ok: 0, refused: 0, failed: 0, timeout: 0 };
    for (const row of selection) {
      counts[word("status", row)] += 1;
      if (isOk(row)) {
        counts.exceeded += data.exceeded[row];
        counts.not_evaluable += 1 - data.evaluable[row];
      }
      counts.out_of_control += CHARTED.some(([measure]) => side(limits, row, measure)) ? 1 : 0;
    }
    for (const [key, n] of Object.entries(counts)) document.querySelector(`[data-count="${key}"]`).textContent = grouped(n);
    byId("headline").textContent = `${grouped(selection.length)} of ${grouped(data.rows)} plan${data.rows === 1 ? "" : "s"} shown`;
    drawControl(selection, limits);
    showOutliers(selection, limits);
    drawSchedules(selected);
    drawCoverage(selection);
    drawPairs(selected);
    drawGradients(selection);
    drawCauses(selection);
  }

  makeFilters();
  update();
  byId("filters").addEventListener("change", update);
  byId("filters").addEventListener("reset", () => setTimeout(update));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("across").addEventListener("change", update);
  byId("by").addEventListener("change", update);
  document.documentElement.dataset.readyMs = performance.now().toFixed(0);
})();
