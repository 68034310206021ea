import { count, duration, figures, fill, make, number, table, trial } from "./dom.js";
import { live } from "./live.js";

function training(found, each) {
  const where = each.epoch === null ? "no epoch yet" : `fold ${each.fold + 1} of ${each.folds}, epoch ${each.epoch + 1}, ${number(each.score)}`;
  const again = each.attempt > 1 ? `, attempt ${each.attempt}` : "";
  return make("p", {}, trial(found.study_id, each.number), ` ${each.architecture}: ${where}${again}`);
}

function gear(worker) {
  const parts = [worker.device];
  if (worker.slot !== null && worker.slot !== undefined) parts.push(`slot ${worker.slot}`);
  if (worker.round_trip_seconds) parts.push(`database ${Math.round(worker.round_trip_seconds * 1000)} ms away`);
  if (worker.steps_per_second) parts.push(`probe ${Math.round(worker.steps_per_second)} steps/s`);
  return parts.join(", ");
}

function card(found, worker) {
  return make("article", { class: "card" },
    make("h3", {}, `${worker.host} `, make("span", { class: "tag" }, `worker ${worker.ordinal}`)),
    make("p", { class: "hint" }, gear(worker)),
    ...(worker.training.length ? worker.training.map((each) => training(found, each)) : [make("p", { class: "hint" }, "trains nothing now")]),
    make("p", {}, `${worker.epochs_per_second === null ? "–" : number(worker.epochs_per_second, 2)} epochs/s, ${count(worker.told)} trials done`,
      worker.failed ? make("span", { class: "bad" }, `, ${worker.failed} failed`) : null),
    make("p", { class: "hint" }, `seen ${duration(worker.silent_seconds)} ago`));
}

live((found) => {
  figures("numbers", [
    ["workers here", count(found.here.length), `on ${found.hosts} host${found.hosts === 1 ? "" : "s"}`],
    ["epochs a second", found.epochs_per_second === null ? "–" : number(found.epochs_per_second, 2)],
    ["failures", count(found.here.concat(found.gone).reduce((sum, each) => sum + each.failed, 0))],
  ]);
  if (found.here.length) fill("here", ...found.here.map((worker) => card(found, worker)));
  else fill("here", make("p", {}, "Nobody works here now. Attach a machine with ", make("code", {}, "muster worker"), "."));
  document.getElementById("left").hidden = !found.gone.length;
  table("gone", ["host", "worker", "device", "done", "failed", "seen", ""],
    found.gone.map((each) => [each.host, each.ordinal, each.device, count(each.told), count(each.failed),
      `${duration(each.silent_seconds)} ago`, each.has_left ? "left" : "silent"]));
});
