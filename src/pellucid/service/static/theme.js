// Pages without a choice of colours take the one that was made elsewhere, or else the browser's.
if (!document.body.className) document.body.classList.add(matchMedia("(prefers-color-scheme: dark)").matches ? "body--dark" : "body--light");
