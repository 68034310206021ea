// Shows the figures that came with the page, then fetches them anew while somebody looks.
const GIVE_UP_MILLISECONDS = 20000;

export function live(show) {
  const given = document.getElementById("figures");
  const news = document.getElementById("news");
  const choose = document.getElementById("choose");
  let figures = JSON.parse(given.textContent);
  choose.addEventListener("change", () => choose.submit());

  const say = (text, isBad) => {
    news.textContent = text;
    news.className = isBad ? "bad" : "";
  };
  const of = () => `figures of ${figures.at.slice(11, 19)} UTC`;
  const draw = () => { show(figures); say(of(), false); };
  draw();

  async function refresh() {
    const answer = await fetch(`/muster/api/${given.dataset.page}?study=${encodeURIComponent(figures.study)}`,
      { signal: AbortSignal.timeout(GIVE_UP_MILLISECONDS), credentials: "same-origin" });
    if (answer.status === 401) {
      location.assign("/muster/login");
      return;
    }
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.reason);
    figures = found;
    draw();
  }

  async function turn() {
    if (document.visibilityState === "visible") {
      try {
        await refresh();
      } catch (error) {
        say(`${error.message}; ${of()}`, true);
      }
    }
    setTimeout(turn, 1000 * Number(given.dataset.seconds));
  }
  setTimeout(turn, 1000 * Number(given.dataset.seconds));
}
