"""Sentences of errors, warnings and reasons, in Persian.

The English sentence that the code raises is the key, with holes for what differs, as in the code's own f-string; a test
holds every key against the code. What stands in a hole is translated too where it is such a sentence itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

PERSIAN_ERRORS = {
    # accounts
    "'{name}' is an operator: an engineer has to do this.": "«{name}» اپراتور است: این کار را مهندس باید انجام دهد.",
    "Too many wrong keys came from this address: try again in {s} s.": (
        "از این نشانی کلیدهای نادرست زیادی آمده است: {s} ثانیهٔ دیگر دوباره بکوشید."
    ),
    "This needs an account: send 'Authorization: Bearer KEY', or log in at /login.": (
        "این کار حساب می‌خواهد: «Authorization: Bearer KEY» بفرستید یا در \u2066/login\u2069 وارد شوید."
    ),
    "This service is for its own machine: ask for 127.0.0.1 or localhost, not '{host}'.": (
        "این سرویس تنها برای همین رایانه است: نشانی 127.0.0.1 یا localhost را باز کنید، نه «{host}»."
    ),
    "A page of '{site}' may not use this service.": "صفحه‌ای از «{site}» اجازهٔ استفاده از این سرویس را ندارد.",
    "A page of another site may not use this service; a link may lead to its pages.": (
        "صفحهٔ سایتی دیگر اجازهٔ استفاده از این سرویس را ندارد؛ پیوند به صفحه‌هایش مجاز است."
    ),
    # what is not there
    "Not Found": "در این نشانی چیزی نیست.",
    "Method Not Allowed": "این کار در این نشانی شدنی نیست.",
    "There is no inspection {n}.": "بازرسی {n} وجود ندارد.",
    "The picture of inspection {n} has no such tile.": "تصویر بازرسی {n} چنین تکه‌ای ندارد.",
    "The pictures of inspection {n} were removed: their time was over.": (
        "تصویرهای بازرسی {n} پاک شده‌اند: مهلت نگه‌داری آن‌ها به پایان رسیده بود."
    ),
    "The comparison '{name}' has no report yet.": "مقایسهٔ «{name}» هنوز گزارشی ندارد.",
    "Unknown {kind} '{name}': {hint}": "{kind} «{name}» شناخته نیست: {hint}",
    "did you mean '{name}'?": "آیا منظورتان «{name}» است؟",
    "known: {names}.": "شناخته‌ها: {names}.",
    "There are no models in '{folder}': fit one, or put a .pellucid file there.": (
        "در «{folder}» مدلی نیست: یکی آموزش دهید یا فایلی با پسوند pellucid آنجا بگذارید."
    ),
    "Say which model: ?model=NAME with one of {names}.": (
        "بگویید کدام مدل: \u2066?model=NAME\u2069 با یکی از این‌ها: {names}."
    ),
    # files that are sent
    "'{file}' is empty (0 bytes).": "«{file}» خالی است (0 بایت).",
    "'{file}' is not an image that can be read ({kinds}).": "«{file}» تصویری نیست که خوانده شود ({kinds}).",
    "'{file}' is {other}, which is not read ({kinds}): convert it to PNG.": (
        "«{file}» از نوع {other} است که خوانده نمی‌شود ({kinds}): آن را به PNG برگردانید."
    ),
    "'{file}' is not a {kind} that can be read.": "«{file}» فایل {kind} نیست که خوانده شود.",
    "'{file}' is {kind} that cannot be read: it is damaged, or of an unusual sort.": (
        "«{file}» ({kind}) خوانده نمی‌شود: آسیب دیده است یا از گونه‌ای نامعمول است."
    ),
    "'{file}' is {w} x {h} pixels; sides of up to {side} are allowed.": (
        "«{file}» {w} × {h} پیکسل است؛ ضلع‌ها تا {side} مجازند."
    ),
    "'{file}' is {w} x {h} pixels; up to {mpx} megapixels are allowed.": (
        "«{file}» {w} × {h} پیکسل است؛ تا {mpx} مگاپیکسل مجاز است."
    ),
    "'{file}' is {w} x {h} pixels and takes {need} MB of memory to inspect; {may} MB are allowed: send a smaller one,"
    " or start the service with a larger --memory-mb.": (
        "«{file}» {w} × {h} پیکسل است و بازرسی‌اش {need} مگابایت حافظه می‌خواهد؛ {may} مگابایت مجاز است: تصویر کوچک‌تری"
        " بفرستید یا سرویس را با \u2066--memory-mb\u2069 بزرگ‌تری آغاز کنید."
    ),
    "The request is larger than the {mb} MB allowed: send fewer or smaller files.": (
        "درخواست از {mb} مگابایتِ مجاز بزرگ‌تر است: فایل‌های کمتر یا کوچک‌تری بفرستید."
    ),
    "There is no file in the field 'files': send one or several.": "در «files» فایلی نیست: یکی یا چند تا بفرستید.",
    "There was no result for '{file}' within {s} s.": "برای «{file}» در {s} ثانیه نتیجه‌ای به دست نیامد.",
    "The rest of the request did not come: it has {s} s from its start, and may pause for {pause} s.": (
        "باقی درخواست نرسید: از آغاز {s} ثانیه وقت دارد و درنگش حداکثر {pause} ثانیه است."
    ),
    "The service is busy: try again in {s} s.": "سرویس سرگرم است: {s} ثانیهٔ دیگر دوباره بکوشید.",
    "'{file}' has values up to {top}, but the images that were fitted on have {bits} bits, 0 to {most}: give it images"
    " of the same camera and format.": (
        "مقدارهای «{file}» تا {top} می‌رسند، ولی تصویرهای آموزش {bits} بیتی‌اند، از 0 تا {most}: تصویرهای همان دوربین و"
        " همان قالب را بدهید."
    ),
    # models
    "'{path}' is not a pellucid model.": "«{path}» مدل pellucid نیست.",
    "'{path}' is neither a model file nor a folder of an exported model.": (
        "«{path}» نه فایل مدل است و نه پوشهٔ یک مدل خروجی‌گرفته."
    ),
    "'{path}' is truncated or was changed since it was written: its checksum does not agree.": (
        "«{path}» ناقص است یا پس از نوشته شدن تغییر کرده است: جمع آزمون آن نمی‌خواند."
    ),
    "'{path}' has format version {version}; this pellucid reads up to {known}: install a newer one.": (
        "«{path}» به نگارش {version} است؛ این pellucid تا {known} را می‌خواند: نسخهٔ تازه‌تری نصب کنید."
    ),
    "'{path}' has a header that cannot be understood: {reason}.": "سرآیند «{path}» فهمیده نمی‌شود: {reason}.",
    "Cannot read model '{path}': {reason}.": "مدل «{path}» خوانده نمی‌شود: {reason}.",
    "The model in '{path}' loads but cannot inspect: {reason}": (
        "مدل «{path}» بار می‌شود ولی نمی‌تواند بازرسی کند: {reason}"
    ),
    "The model '{name}' cannot grade: {reason}": "مدل «{name}» نمی‌تواند درجه‌بندی کند: {reason}",
    "'{rules}' is to grade by, and the model '{name}' has no scale: fit it with --mm-per-px.": (
        "قرار است با «{rules}» درجه‌بندی شود و مدل «{name}» مقیاس ندارد: آن را با \u2066--mm-per-px\u2069 آموزش دهید."
    ),
    "'{file}' is not a file.": "«{file}» فایل نیست.",
    "Cannot read '{file}': {reason}.": "«{file}» خوانده نمی‌شود: {reason}.",
    "Cannot write '{file}': {reason}.": "«{file}» نوشته نمی‌شود: {reason}.",
    "'{file}' is not a leaderboard: {reason}.": "«{file}» جدول مقایسه نیست: {reason}.",
    "A limit of {x} is not allowed: give a finite number.": "حد {x} پذیرفته نیست: عددی متناهی بدهید.",
    "A limit of {x} {does} Give a reason for it.": "حد {x} {does} برای آن دلیلی بنویسید.",
    'A limit of {x} {does} Confirm it ("confirm": true), with a reason.': (
        'حد {x} {does} آن را با دلیل تأیید کنید (\u2066"confirm": true\u2069).'
    ),
    "cannot be tried: the model holds no scores of good images.": (
        "آزمودنی نیست: مدل امتیازهای تصویرهای سالم را ندارد."
    ),
    "would reject every good part: all {n} held-out good images score from {low} to {high}.": (
        "همهٔ قطعه‌های سالم را رد می‌کند: هر {n} تصویر سالمِ کنارگذاشته از {low} تا {high} امتیاز می‌گیرند."
    ),
    "would reject no good part, and might pass defects: all {n} held-out good images score from {low} to {high}.": (
        "هیچ قطعهٔ سالمی را رد نمی‌کند و شاید عیب‌ها بگذرند: هر {n} تصویر سالمِ کنارگذاشته از {low} تا {high} امتیاز"
        " می‌گیرند."
    ),
    "What counts decides what is rejected: give a reason for changing it.": (
        "آنچه به حساب می‌آید تعیین می‌کند چه رد شود: برای تغییرش دلیلی بنویسید."
    ),
    "What a model learns decides what it rejects: give a reason.": (
        "آنچه مدل یاد می‌گیرد تعیین می‌کند چه را رد کند: دلیلی بنویسید."
    ),
    "'{name}' is an exported model, which only inspects: update the file that it came from.": (
        "«{name}» مدلی خروجی‌گرفته است که تنها بازرسی می‌کند: فایلی را که از آن آمده به‌روز کنید."
    ),
    "There are no such images in the record: let the model inspect some, or decide on some.": (
        "چنین تصویرهایی ثبت نشده‌اند: بگذارید مدل چند تا را بازرسی کند یا دربارهٔ چند تا نظر دهید."
    ),
    "Cannot copy the images to be learned: {reason}.": "تصویرهایی که باید یاد گرفته شوند رونوشت نمی‌شوند: {reason}.",
    # trainings and decisions
    "Give the training a name of letters and digits.": "نامی از حرف‌ها و رقم‌ها به آموزش بدهید.",
    "'{data}' is not a data set of this service.": "«{data}» مجموعه‌دادهٔ این سرویس نیست.",
    "Choose at least one detector.": "دست‌کم یک آشکارساز برگزینید.",
    "'{name}' is still running: wait for it, or cancel it.": (
        "«{name}» هنوز در حال اجراست: منتظرش بمانید یا لغوش کنید."
    ),
    "There is a result '{name}' already: choose another name.": "نتیجهٔ «{name}» از پیش هست: نام دیگری برگزینید.",
    "There is a data set '{name}' already: choose another name.": (
        "مجموعه‌دادهٔ «{name}» از پیش هست: نام دیگری برگزینید."
    ),
    "Nothing has been decided yet: confirm or overrule some inspections first.": (
        "هنوز نظری داده نشده است: نخست چند بازرسی را تأیید یا رد کنید."
    ),
    "Cannot write '{folder}': it is there already.": "«{folder}» نوشته نمی‌شود: از پیش هست.",
    # the record
    "The record at {place} cannot be used now ({reason}).": "دفتر ثبت در {place} اکنون در دسترس نیست ({reason}).",
    "The record's disk is full: free some space; nothing was kept ({reason}).": (
        "دیسک دفتر ثبت پر است: جا باز کنید؛ چیزی ثبت نشد ({reason})."
    ),
    "The record has not answered for {s} s; {kept}.": "دفتر ثبت {s} ثانیه پاسخ نداده است؛ {kept}.",
    "nothing was kept": "چیزی ثبت نشد",
    "it is not known whether the inspection was kept": "دانسته نیست که بازرسی ثبت شد یا نه",
    "The record is closed: the service is stopping; nothing was kept.": (
        "دفتر ثبت بسته است: سرویس در حال ایستادن است؛ چیزی ثبت نشد."
    ),
    "The record did not answer before the service stopped.": "دفتر ثبت پیش از ایستادن سرویس پاسخ نداد.",
    "Writing was broken off ({reason}).": "نوشتن ناتمام ماند ({reason}).",
    "The record refused an inspection ({reason}).": "دفتر ثبت یک بازرسی را نپذیرفت ({reason}).",
    "The service cannot read or write a file: {reason}.": "سرویس نمی‌تواند فایلی را بخواند یا بنویسد: {reason}.",
    "Something went wrong in the service, and its log says what: error {number}.": (
        "چیزی در سرویس نادرست پیش رفت و گزارش کارش می‌گوید چه: خطای {number}."
    ),
    # why an image was not judged, and what is odd about it
    "Not judged: every pixel has the same value, as of a covered lens or a dead camera.": (
        "داوری نشد: همهٔ پیکسل‌ها یک مقدار دارند، مانند عدسیِ پوشیده یا دوربینِ ازکارافتاده."
    ),
    "Not judged: the image is nothing but noise, as of a covered lens.": (
        "داوری نشد: تصویر چیزی جز نویز نیست، مانند عدسیِ پوشیده."
    ),
    "Not judged: the detector's score or map is not a finite number.": (
        "داوری نشد: امتیاز یا نقشهٔ آشکارساز عددی متناهی نیست."
    ),
    "Not judged: the image is far from those fitted on: {difference}.": (
        "داوری نشد: در سنجش با تصویرهای آموزش، تصویر بسیار متفاوت است: \u2066{difference}\u2069."
    ),
    "Compared with those fitted on, the image is {difference}.": (
        "در سنجش با تصویرهای آموزش، تصویر متفاوت است: \u2066{difference}\u2069."
    ),
}


def persian_error(english: str, spell: Callable[[str, str], str] = lambda _, value: value) -> str | None:
    """Say a sentence in Persian; None if it is not known.

    Args:
        english: as it was raised, with everything filled in.
        spell: writes what stands in a hole, given the hole's name and that.
    """
    for pattern, persian in _patterns():
        if found := pattern.fullmatch(english):
            held = found.groupdict().items()
            return persian.format(**{hole: persian_error(text, spell) or spell(hole, text) for hole, text in held})
    return None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The sentences as patterns; those with more words of their own first, so that none is taken for a vaguer one."""
    vague_last = sorted(PERSIAN_ERRORS.items(), key=lambda pair: -len(re.sub(r"\{\w+\}", "", pair[0])))
    return tuple((_pattern(english), persian) for english, persian in vague_last)


def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", english)  # words and names of holes by turns
    return re.compile(
        "".join(re.escape(part) if k % 2 == 0 else f"(?P<{part}>.+?)" for k, part in enumerate(parts)), re.DOTALL
    )
