import { columns } from "./charts.js";
import { count, figures, fill, number, table } from "./dom.js";
import { live } from "./live.js";

live((found) => {
  fill("name", found.name);
  const groups = found.groups;
  figures("numbers", [
    ["sequences", count(found.sequences), `${count(found.labelled)} to train on, ${count(found.test)} to test or predict`],
    ["time steps", count(found.steps), `${count(found.lengths.least)} to ${count(found.lengths.most)} a sequence, median ${number(found.lengths.median, 0)}`],
    ["channels", count(found.channels_in_all), found.static.length ? `${found.static.length} static columns` : undefined],
    ["classes", count(found.classes.length)],
    ["groups", groups ? count(groups.count) : "none", groups ? `of ${count(groups.smallest)} to ${count(groups.largest)} sequences` : undefined],
    ["fingerprint", found.fingerprint.slice(0, 12)],
  ]);
  const names = found.channels.join(", ");
  const more = found.channels_in_all > found.channels.length ? ", …" : "";
  fill("columns", `Channels: ${names}${more}.`, found.static.length ? ` Static: ${found.static.join(", ")}.` : "");
  columns("lengths", found.lengths);
  table("classes", ["class", "to train on", "to test on"], found.classes.map((each) => [each.name, count(each.train), count(each.test)]));
  table("folds", ["fold", "sequences", ...(groups ? ["groups"] : []), ...found.classes.map((each) => each.name)],
    found.folds.map((each) => [String(each.fold + 1), count(each.sequences), ...(groups ? [count(each.groups)] : []), ...each.classes.map(count)]));
});
