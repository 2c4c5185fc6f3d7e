// Exchanges a key for a cookie, in the browser's language.
const persian = navigator.language.startsWith("fa");
const texts = persian
  ? { key: "کلید شما", enter: "ورود", wrong: "این کلید از آنِ هیچ حسابی نیست.", away: "سرویس پاسخ نمی‌دهد." }
  : { key: "Your key", enter: "Log in", wrong: "No account has this key.", away: "The service does not answer." };
document.documentElement.lang = persian ? "fa" : "en";
document.documentElement.dir = persian ? "rtl" : "ltr";
if (matchMedia("(prefers-color-scheme: dark)").matches) document.body.classList.add("body--dark");
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
    else said.textContent = answer.status === 401 ? texts.wrong : (await answer.json()).detail;
  } catch {
    said.textContent = texts.away;
  }
});
