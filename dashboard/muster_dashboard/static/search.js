import { bestOverTime } from "./charts.js";
import { count, duration, figures, fill, make, number, table, trial } from "./dom.js";
import { live } from "./live.js";

const STATES = ["complete", "pruned", "failed", "running", "waiting", "next"];

function limits(found) {
  const parts = [];
  if (found.ends_in_seconds !== null) parts.push(`time limit in ${duration(Math.max(0, found.ends_in_seconds))}`);
  if (found.patience !== null) parts.push(`patience ${found.patience}`);
  if (found.asked !== null && found.asked > found.budget) parts.push(`cut by a limit from ${found.asked}`);
  return parts.join(", ");
}

let wasStopped;

live((found) => {
  const isStopped = found.state === "stopped";
  // The button that stops or resumes came with the page.
  if (wasStopped !== undefined && wasStopped !== isStopped) location.reload();
  wasStopped = isStopped;
  fill("state", found.state);
  const all = Math.max(found.budget, 1);
  fill("bar", ...STATES.filter((state) => found.states[state]).map((state) => {
    const part = make("span", { class: state, title: `${state}: ${found.states[state]}` });
    part.style.width = `${(100 * found.states[state]) / all}%`;
    return part;
  }));
  fill("legend", ...STATES.filter((state) => found.states[state]).map((state) =>
    make("span", {}, make("i", { class: state }), `${count(found.states[state])} ${state}`)));
  const { best } = found;
  figures("numbers", [
    ["trials done", `${count(found.told)} of ${count(found.budget)}`, limits(found)],
    ["time left", found.state === "finished" ? "done" : duration(found.seconds_left),
      found.seconds_left === null && found.state === "open" ? "too few trials, or nobody works" : undefined],
    [`best ${found.metric}`, best ? number(best.value) : "–", best ? make("span", {}, trial(found.study_id, best.number), `, ${best.architecture}`) : undefined],
    ["running", count(found.states.running), `${count(found.states.waiting)} wait, ${count(found.states.next)} next`],
    ["epochs trained", count(found.epochs)],
    ["since it began", duration(found.seconds)],
  ]);
  bestOverTime("chart", found);
  table("architectures", ["architecture", `best ${found.metric}`, ...STATES],
    found.architectures.map((row) => [row.name, row.best === null ? null : number(row.best), ...STATES.map((state) => count(row[state]))]));
});
