"""What is said of each mode, in a title and three lines that fit the screen. Texts only, and imports nothing: the image
builder puts them into the install guide.
"""

TEXTS: dict[str, tuple[str, tuple[str, str, str]]] = {
    "gateway": (
        "gateway: mail for your domains comes here first",
        (
            "The MX records of your domains name this box. It takes mail on port 25,",
            "looks at it while it arrives, and hands it to your mail server at once.",
            "One network port is enough.",
        ),
    ),
}
