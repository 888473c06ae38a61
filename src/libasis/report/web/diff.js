// The page that compares two graphs: its language can be switched.
const titles = JSON.parse(document.getElementById("view-data").textContent).title;
for (const input of document.querySelectorAll('input[name="lang"]')) {
  input.addEventListener("change", () => {
    document.documentElement.lang = input.value;
    document.title = titles[input.value];
  });
}
document.getElementById("languages").hidden = false;
