// Exchanges a key for a cookie, in the browser's language.
const persian = navigator.language.startsWith("fa");
const texts = persian
  ? { key: "کلید شما", enter: "ورود", wrong: "این کلید از آنِ هیچ حسابی نیست.", busy: "کلیدهای نادرست زیادی آمده است: کمی بعد دوباره بکوشید.", away: "سرویس پاسخ نمی‌دهد." }
  : { key: "Your key", enter: "Log in", wrong: "No account has this key.", busy: "Too many wrong keys came: try again later.", away: "The service does not answer." };
document.documentElement.lang = persian ? "fa" : "en";
document.documentElement.dir = persian ? "rtl" : "ltr";
document.querySelector("label").textContent = texts.key;
document.querySelector("button").textContent = texts.enter;
document.querySelector("#form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = document.querySelector("#said");
  said.textContent = "";
  try {
    const answer = await fetch("/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key: document.querySelector("#key").value.trim() }),
    });
    if (answer.ok) location.assign("/");
    else said.textContent = { 401: texts.wrong, 429: texts.busy }[answer.status] ?? (await answer.json()).detail;
  } catch {
    said.textContent = texts.away;
  }
});
