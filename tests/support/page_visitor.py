"""Somebody at a browser, who reads the page in one language. What they look for is given in English, and looked
up in the catalogues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tenacity

from dispatcher.page.language import Language, language

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(120), wait=tenacity.wait_fixed(0.1), reraise=True
)


class Visitor:
    """A person.

    Args:
        origin: of the page.
        code: of the language.
    """

    def __init__(self, chrome: Chrome, origin: str, code: str = "en") -> None:
        self.chrome, self.origin = chrome, origin
        self.language: Language = language(code)

    def word(self, message: str, /, **values: object) -> str:
        """A text of the page, given in English, as they read it."""
        return self.language.text(message, **values)

    def opens(self, path: str) -> None:
        """Open a page in their language."""
        mark = "&" if "?" in path else "?"
        self.chrome.get(f"{self.origin}{path}{mark}lang={self.language.code}")

    @patiently
    def reads(self, *messages: str, exactly: tuple[str, ...] = ()) -> None:
        """Wait until the page says all of this, in their language and direction.

        Args:
            exactly: what is not translated.
        """
        html = self._element("html")
        about = (html.get_attribute("lang"), html.get_attribute("dir"))
        assert about == (self.language.code, self.language.direction)
        self._has(self.shown, messages, exactly)

    @patiently
    def reads_row(self, action_id: str, *messages: str, exactly: tuple[str, ...] = ()) -> None:
        """Wait until the row of an action in a table says all of this."""
        link = f"a[@href={_literal(f'/actions/{action_id}')}]"
        row = self.chrome.find_element("xpath", f"//main//tr[.//{link}]")
        self._has(row.text, messages, exactly)

    @patiently
    def reads_badge(self, message: str) -> None:
        """Wait until a badge says this, and nothing else."""
        badges = self.chrome.find_elements("css selector", "main .badge")
        assert self.word(message) in [each.text for each in badges], self.shown

    @patiently
    def reads_no_more(self, message: str) -> None:
        """Wait until the page does not say this."""
        assert self.word(message) not in self.shown

    @property
    def shown(self) -> str:
        """The text of the page, without what is around it."""
        return self.chrome.find_element("css selector", "main").text

    def text(self, selector: str) -> str:
        """All text of an element, also what is scrolled out of sight."""
        return str(self._element(selector).get_attribute("textContent"))

    @patiently
    def press(self, message: str, /, **values: object) -> None:
        """Press the link or button whose words begin with this; the page may just be renewing itself."""
        begins = f"starts-with(normalize-space(), {_literal(self.word(message, **values))})"
        path = f"//main//*[self::a or self::button][{begins}]"
        self.chrome.find_element("xpath", path).click()

    @patiently
    def press_on(self, selector: str) -> None:
        """Press an element."""
        self._element(selector).click()

    @patiently
    def fill(self, selector: str, text: str, *, then: str = "") -> None:
        """Write into a field, and press a key."""
        field = self._element(selector)
        field.clear()
        field.send_keys(text + then)

    @patiently
    def is_at(self, path: str) -> None:
        """Wait until the browser is at this path, whatever its query."""
        here = self.chrome.current_url.partition("?")[0]
        assert here == f"{self.origin}{path}", f"{here} shows: {self.shown}"

    def complaints(self) -> list[str]:
        """What the policy of the page kept the browser from."""
        log = self.chrome.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log if "Content Security" in entry["message"]]

    def _has(self, shown: str, messages: tuple[str, ...], exactly: tuple[str, ...]) -> None:
        wanted = [*map(self.word, messages), *exactly]
        missing = [text for text in wanted if text.casefold() not in shown.casefold()]
        assert missing == [], f"{missing} not in: {shown}"

    def _element(self, selector: str) -> WebElement:
        return self.chrome.find_element("css selector", selector)


def _literal(text: str) -> str:
    """A string of XPath, which knows no escapes."""
    quote = '"' if '"' not in text else "'"
    assert quote not in text, text
    return f"{quote}{text}{quote}"
