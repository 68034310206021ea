import { intervals } from "./charts.js";
import { count, duration, figures, fill, number, table, trial } from "./dom.js";
import { live } from "./live.js";

live((found) => {
  const vote = found.ensemble;
  document.getElementById("none").hidden = vote !== null;
  document.getElementById("vote").hidden = vote === null;
  if (vote === null) {
    fill("completed", `${count(found.completed)} trials are completed.`);
    return;
  }
  fill("rule", vote.asked === vote.rule ? vote.rule : `${vote.rule}, chosen by ${vote.asked}`);
  figures("numbers", [
    [`nested ${vote.metric}`, number(vote.nested), `95 % interval ${number(vote.low)} to ${number(vote.high)}`],
    ["naive", number(vote.naive), `flatters by ${number(vote.naive - vote.nested)}`],
    ["best trial alone", number(vote.single_nested), `trial ${vote.single}; p = ${number(vote.p_value, 3)}`],
    ["made of", `${count(vote.trials)} trials`, `${count(found.completed)} are completed by now`],
    ["made", found.seconds_ago === null ? "–" : `${duration(found.seconds_ago)} ago`],
  ]);
  intervals("chart", [
    { label: "ensemble", nested: vote.nested, naive: vote.naive, low: vote.low, high: vote.high },
    { label: `best trial (${vote.single})`, nested: vote.single_nested, naive: vote.single_naive },
  ]);
  table("members", ["trial", "architecture", "share of the vote"],
    vote.members.map((each) => [trial(found.study_id, each.number), each.architecture, number(each.weight, 3)]));
});
