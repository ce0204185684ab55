"""Text files that name one frame per line. Any content gives either a list of lines or a DataError."""

from mmseg_erfnet.errors import DataError

MAX_TEXT = 1 << 26  # bytes of a text file; labelme embeds the photo in its JSON
MAX_LIST = 1 << 24  # bytes of a list
MAX_LINE = 4096  # characters; the longest path of Linux


def decode_text(data: bytes, shown: str, limit: int = MAX_TEXT) -> str:
    """Decode the content of a text file: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        DataError: It is too large, or not text.
    """
    if len(data) > limit:
        raise DataError(f'{shown} has {len(data)} bytes, too many for a list; put the right file in its place.')
    encoding = 'utf-16' if data[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig'
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f'{shown} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8.'
        ) from error
    if '\0' in text:
        raise DataError(f'{shown} is not text but binary data; put the right file in its place.')
    return text


def parse_split(data: bytes, shown: str) -> list[str]:
    """Return the lines of a split list; their content is not checked further.

    Args:
        data: The list's content; a byte order mark is allowed.
        shown: The list's name in the message.

    Raises:
        DataError: It is not text, or a line is too long for a name.
    """
    lines = [line.strip() for line in decode_text(data, shown, MAX_LIST).split('\n')]
    long = next((number for number, line in enumerate(lines, 1) if len(line) > MAX_LINE), None)
    if long:
        raise DataError(f'{shown}, line {long}, is too long for a name; write one name per line.')
    return [line for line in lines if line]
