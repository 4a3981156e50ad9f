"use strict";
// The live page: takes new content when the server has some, and sends what the buttons ask for.
(() => {
  const box = document.getElementById("live"), status = box.querySelector("[role=status]");
  const [study, values] = [box.querySelector("select"), box.querySelector("input")];
  let version = box.dataset.version;
  const say = (text) => { status.textContent = text; };

  const take = async () => {
    const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html"), fresh = page.querySelector("main");
    const old = document.querySelector("main"), details = (main) => [...main.querySelectorAll("details")];
    const open = details(old).map((one) => one.open);
    if (open.length === details(fresh).length) details(fresh).forEach((one, i) => { one.open = open[i]; });
    const [x, y] = [scrollX, scrollY];
    old.replaceWith(fresh);
    Page.start();
    scrollTo(x, y);
    version = page.getElementById("live").dataset.version;
  };
  const look = async () => {
    try {
      const answer = await fetch("/version"), now = await answer.text();
      if (!answer.ok) throw new Error(now);
      const typing = document.querySelector("main").contains(document.activeElement) && document.activeElement.matches("input, select");
      if (now !== version && !typing) { await take(); say(`updated ${new Date().toLocaleTimeString()}`); }
    } catch { say("the server does not answer: is report --live still running?"); }
    setTimeout(look, 2000);
  };
  box.addEventListener("click", async (event) => {
    const verb = event.target.dataset.do;
    if (!verb) return;
    try {
      const body = JSON.stringify({ study: study.value, values: verb === "enqueue" ? values.value : "" });
      const answer = await fetch(`/${verb}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      say(await answer.text());
      if (answer.ok && verb === "enqueue") values.value = "";
    } catch { say("the server does not answer"); }
  });
  setTimeout(look, 2000);
})();
