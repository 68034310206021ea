// Charts as inline SVG, drawn by hand.
import { duration, number } from "./dom.js";

const NAMESPACE = "http://www.w3.org/2000/svg";

function svg(tag, properties, text) {
  const found = document.createElementNS(NAMESPACE, tag);
  for (const [key, value] of Object.entries(properties)) found.setAttribute(key, value);
  if (text !== undefined) found.textContent = text;
  return found;
}

function canvas(id, height, title) {
  const place = document.getElementById(id);
  // Drawn in the page's own pixels, so that text is as large on a phone as on a screen.
  const width = Math.max(280, Math.round(place.clientWidth));
  const found = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  place.replaceChildren(found);
  return { found, width, height };
}

// At most five round numbers between low and high.
export function ticks(low, high) {
  if (!(high > low)) return [low];
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let each = Math.ceil(low / step) * step; each <= high + step * 1e-9; each += step) found.push(each);
  return found;
}

// steps: improvements, dots: trials, [seconds, value, number] each; seconds: now.
export function bestOverTime(id, { steps, dots, seconds, study_id: studyId, metric }) {
  const place = document.getElementById(id);
  if (!dots.length) {
    place.textContent = "No trial is completed yet.";
    return;
  }
  const { found, width, height } = canvas(id, 260, `best ${metric} over time`);
  const [left, right, top, bottom] = [52, 10, 12, 26];
  const values = dots.map((dot) => dot[1]).concat(steps.map((dot) => dot[1]));
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) [low, high] = [low - 0.01, high + 0.01];
  const end = Math.max(seconds, ...dots.map((dot) => dot[0]), 1);
  const x = (at) => left + (at / end) * (width - left - right);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
  for (const tick of ticks(low, high)) {
    found.append(svg("path", { class: "grid", d: `M${left} ${y(tick)}H${width - right}` }));
    found.append(svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, Number(tick.toPrecision(6))));
  }
  for (const [at, anchor] of [[0, "start"], [end / 2, "middle"], [end, "end"]]) {
    found.append(svg("text", { x: x(at), y: height - 8, "text-anchor": anchor }, duration(at)));
  }
  for (const [at, value, trial] of dots) {
    const dot = svg("circle", { class: "dot", cx: x(at).toFixed(1), cy: y(value).toFixed(1), r: 3.5 });
    dot.append(svg("title", {}, `trial ${trial}: ${number(value)}`));
    const link = svg("a", { href: `/dashboard/studies/${studyId}/trials?numbers=${trial}` });
    link.append(dot);
    found.append(link);
  }
  let path = `M${x(steps[0][0])} ${y(steps[0][1])}`;
  for (const [at, value] of steps.slice(1)) path += `H${x(at)}V${y(value)}`;
  found.append(svg("path", { class: "best", d: `${path}H${x(end)}` }));
}

// Counts between edges.
export function columns(id, { edges, counts }) {
  const place = document.getElementById(id);
  if (!counts.length) {
    place.textContent = "No sequences.";
    return;
  }
  const { found, width, height } = canvas(id, 180, "sequences by length");
  const [left, right, top, bottom] = [44, 10, 10, 24];
  const most = Math.max(...counts, 1);
  const step = (width - left - right) / counts.length;
  const y = (value) => height - bottom - (value / most) * (height - top - bottom);
  for (const tick of ticks(0, most).filter(Number.isInteger)) {
    found.append(svg("path", { class: "grid", d: `M${left} ${y(tick)}H${width - right}` }));
    found.append(svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick));
  }
  counts.forEach((each, i) => {
    const column = svg("rect", {
      class: "column", x: left + i * step + 1, y: y(each), width: Math.max(1, step - 2), height: height - bottom - y(each),
    });
    column.append(svg("title", {}, `${Math.ceil(edges[i])} to ${Math.ceil(edges[i + 1]) - 1} steps: ${each}`));
    found.append(column);
  });
  found.append(svg("text", { x: left, y: height - 6 }, `${Math.floor(edges[0])} steps`));
  found.append(svg("text", { x: width - right, y: height - 6, "text-anchor": "end" }, `${Math.ceil(edges[edges.length - 1]) - 1}`));
}

// rows: {label, nested, naive, low, high}; low and high may be missing.
export function intervals(id, rows) {
  const rowHeight = 44;
  const { found, width, height } = canvas(id, rows.length * rowHeight + 34, "estimates");
  const [left, right] = [12, 12];
  const values = rows.flatMap((row) => [row.nested, row.naive, row.low, row.high]).filter((each) => each !== null && each !== undefined);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low) * 0.06 || 0.01;
  [low, high] = [low - margin, high + margin];
  const x = (value) => left + ((value - low) / (high - low)) * (width - left - right);
  for (const tick of ticks(low, high)) {
    found.append(svg("path", { class: "grid", d: `M${x(tick)} 0V${height - 24}` }));
    found.append(svg("text", { x: x(tick), y: height - 8, "text-anchor": "middle" }, Number(tick.toPrecision(6))));
  }
  rows.forEach((row, i) => {
    const y = i * rowHeight + 30;
    found.append(svg("text", { x: left, y: y - 14, class: "label" },
      `${row.label}: nested ${number(row.nested)}, naive ${number(row.naive)}`));
    if (row.low !== undefined) found.append(svg("path", { class: "interval", d: `M${x(row.low)} ${y}H${x(row.high)}` }));
    found.append(svg("circle", { class: "naive", cx: x(row.naive), cy: y, r: 5 }));
    found.append(svg("circle", { class: "nested", cx: x(row.nested), cy: y, r: 5 }));
  });
}
