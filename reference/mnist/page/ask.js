async function read(ink, width, height) {
  let text = "";
  for (let i = 0; i < ink.length; i += 8192) text += String.fromCharCode(...ink.subarray(i, i + 8192));
  let response;
  try {
    response = await fetch("/read", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ width, height, ink: btoa(text) }),
    });
  } catch {
    throw new Error("Nobody answers: the program behind this page has ended. Start it again, then reload.");
  }
  const said = await response.json();
  if (!response.ok) throw new Error(said.error);
  return said.image === null ? null : { image: bytes(said.image), probabilities: said.probabilities };
}
