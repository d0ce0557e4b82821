"""An answer that is heard word by word, as a model writes it. What is said is not known here."""

from dataclasses import dataclass

from rich.console import Console


@dataclass
class Words:
    """An answer that is heard word by word, broken between words at the edge of the window."""

    console: Console
    column: int = 0
    word: str = ""

    def add(self, text: str) -> None:
        """The next piece of it."""
        for character in text:
            if character.isspace():
                self._flush()
                self._space("\n" if character == "\n" else " ")
            else:
                self.word += character
        self.console.file.flush()

    def end(self) -> None:
        """The answer, or a part before something else is printed, is over."""
        self._flush()
        if self.column:
            self._space("\n")

    def _flush(self) -> None:
        if self.column and self.column + len(self.word) > self.console.width:
            self._space("\n")
        self._write(self.word)
        self.column += len(self.word)
        self.word = ""

    def _space(self, character: str) -> None:
        fits = character == "\n" or 0 < self.column < self.console.width
        if fits:
            self._write(character)
        self.column = 0 if character == "\n" else self.column + fits

    def _write(self, text: str) -> None:
        self.console.file.write(text)
