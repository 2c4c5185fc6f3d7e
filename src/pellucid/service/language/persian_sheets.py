"""What the pages say of sheets, in Persian: promises by area, and grades by a rule. The English sentence is the key."""

from __future__ import annotations

PERSIAN_OF_SHEETS = {
    # promises by area
    "m²": "متر مربع",
    "megapixel": "مگاپیکسل",
    "the limit was moved to where {images} images of a new lot score, which tell nothing of an area": (
        "حد به جایی برده شد که {images} تصویر از بهری نو امتیاز می‌گیرند، و این از سطح چیزی نمی‌گوید"
    ),
    "placed by {area} {unit} of it": "از روی {area} {unit} از آن",
    "models made in this way raise at most {rate} false alarms per {unit} of such good glass on average": (
        "مدل‌هایی که چنین ساخته شوند به‌طور میانگین حداکثر {rate} هشدار نادرست در هر {unit} شیشهٔ سالمِ مانند این می‌دهند"
    ),
    "{models} models made in this way raise at most {rate} false alarms per {unit} of such good glass": (
        "{models} مدلی که چنین ساخته شوند حداکثر {rate} هشدار نادرست در هر {unit} شیشهٔ سالمِ مانند این می‌دهند"
    ),
    "the next better promise, {promise}, needs {needed} {unit} of good glass": (
        "قول بهتر بعدی، {promise}، {needed} {unit} شیشهٔ سالم می‌خواهد"
    ),
    "at most {rate} false alarms per {unit} on average": "حداکثر {rate} هشدار نادرست در هر {unit} به‌طور میانگین",
    "at most {rate} false alarms per {unit} in {models} models": "حداکثر {rate} هشدار در هر {unit} در {models} مدل",
    # grades
    "Grade": "درجه",
    "ok by {rules}": "پذیرفته به حکم {rules}",
    "a person has to look, by {rules}": "کسی باید نگاه کند، به حکم {rules}",
    "reject by {rules}": "رد به حکم {rules}",
}
