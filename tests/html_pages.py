"""Pages of HTML as the tests read them."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Its elements, each of which closes where it should, and its text, without that of the elements `unread`."""

    def __init__(self, text, unread=("style",)):
        super().__init__()
        self.open, self.elements, self.text, self.unread = [], [], "", unread
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in self.unread:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]
