// Runs before the page is painted, so that it never flashes in the other colours.
try {
	const theme = localStorage.getItem("litgpt.theme");
	if (theme) document.documentElement.dataset.theme = theme;
} catch { /* storage is refused: the system's colours */ }
