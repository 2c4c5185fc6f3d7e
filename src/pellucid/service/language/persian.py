"""What the pages say, in Persian. The English sentence is the key."""

from __future__ import annotations

from pellucid.service.language.persian_sheets import PERSIAN_OF_SHEETS

PERSIAN = {
    # frame
    "Inspect": "بازرسی",
    "Review": "بازبینی",
    "Models": "مدل‌ها",
    "Train": "آموزش",
    "Trends": "روندها",
    "Pages": "صفحه‌ها",
    "Skip to the content": "رفتن به محتوا",
    "Colours": "رنگ‌ها",
    "Automatic": "خودکار",
    "Light": "روشن",
    "Dark": "تیره",
    "Log out": "خروج",
    "Dates and digits": "تاریخ و رقم‌ها",
    "operator": "اپراتور",
    "engineer": "مهندس",
    "{m} min {s} s": "{m} دقیقه و {s} ثانیه",
    "{s} s": "{s} ثانیه",
    "Model": "مدل",
    "There are no models yet.": "هنوز مدلی نیست.",
    "An engineer can do this.": "این کار را مهندس انجام می‌دهد.",
    "Cancel": "لغو",
    "This is not allowed": "این کار مجاز نیست",
    "There is nothing at this address": "در این نشانی چیزی نیست",
    "The service is busy": "سرویس سرگرم است",
    "Something went wrong": "چیزی نادرست پیش رفت",
    "The service cannot do this now": "سرویس اکنون نمی‌تواند این کار را بکند",
    "This did not work": "این کار نشد",
    "To the pages": "به صفحه‌ها",
    "Download as a table (CSV)": "دریافت به‌صورت جدول (CSV)",
    # viewer
    "Map": "نقشه",
    "in a region that is ignored": "در ناحیه‌ای که نادیده گرفته می‌شود",
    "near the border": "نزدیک لبه",
    "too small to count": "کوچک‌تر از آنکه به حساب آید",
    "Ignored": "نادیده گرفته",
    "Zoom in": "بزرگ‌نمایی",
    "Zoom out": "کوچک‌نمایی",
    "Show single pixels": "نمایش تک‌تک پیکسل‌ها",
    "Show all": "نمایش کل تصویر",
    "Zoom to every pixel, and print": "بزرگ‌نمایی تا تک‌تک پیکسل‌ها، و چاپ",
    "The inspected image": "تصویر بازرسی‌شده",
    "The inspected image: plus and minus zoom, arrows move, 0 shows all": (
        "تصویر بازرسی‌شده: با + و − بزرگ و کوچک می‌شود، با پیکان‌ها جابه‌جا، و با 0 کل آن دیده می‌شود"
    ),
    # inspect
    "REJECT": "مردود",
    "OK": "سالم",
    "Drop images here, or choose them": "تصویرها را اینجا رها کنید یا انتخاب کنید",
    "The service does not answer.": "سرویس پاسخ نمی‌دهد.",
    "Follow the line": "دنبال کردن خط",
    "Nothing has been inspected yet: drop an image above, or send one to POST /inspect.": (
        "هنوز چیزی بازرسی نشده است: تصویری را در بالا رها کنید یا به POST /inspect بفرستید."
    ),
    "Latest": "تازه‌ترین‌ها",
    "Last hour: {n} inspected, {bad} rejected": "یک ساعت گذشته: {n} بازرسی، {bad} مردود",
    "Part": "قطعه",
    "Time": "زمان",
    "Score": "امتیاز",
    "Limit": "حد",
    "p-value": "مقدار p",
    "not judged": "داوری نشد",
    "Image": "تصویر",
    "Runtime": "اجرا با",
    "not loaded": "بارگذاری نشده",
    "Defects": "عیب‌ها",
    "line": "خط",
    "point": "نقطه",
    "area": "ناحیه",
    "ring": "حلقه",
    "bright line": "خط روشن",
    "bright point": "نقطهٔ روشن",
    "bright area": "ناحیهٔ روشن",
    "bright ring": "حلقهٔ روشن",
    "dark line": "خط تیره",
    "dark point": "نقطهٔ تیره",
    "dark area": "ناحیهٔ تیره",
    "dark ring": "حلقهٔ تیره",
    "Source": "فرستنده",
    "Decision": "نظر",
    "at most {x} of 100 good parts score as high": "از هر 100 قطعهٔ سالم حداکثر {x} تا چنین امتیازی می‌گیرند",
    "fewer than 1 of 100 good parts scores as high": "از هر 100 قطعهٔ سالم کمتر از یکی چنین امتیازی می‌گیرد",
    "Confirm or overrule": "تأیید یا رد این نتیجه",
    "The pictures were removed: their time was over.": "تصویرها پاک شده‌اند: مهلت نگه‌داری آن‌ها به پایان رسیده بود.",
    "What this is": "این چیست",
    "Each image that you drop here, or that the line sends, is compared with good ones.": (
        "هر تصویری که اینجا رها کنید یا خط بفرستد با تصویرهای سالم سنجیده می‌شود."
    ),
    "A score above the limit rejects the part; on Review people confirm or overrule it.": (
        "امتیازی بالاتر از حد قطعه را رد می‌کند؛ در «بازبینی» افراد آن را تأیید یا رد می‌کنند."
    ),
    "Train makes a model of your own good images, Models moves its limit, Trends watches the line.": (
        "«آموزش» از تصویرهای سالم خودتان مدل می‌سازد، «مدل‌ها» حد آن را جابه‌جا می‌کند و «روندها» خط را می‌پاید."
    ),
    "Understood": "فهمیدم",
    # review
    "Every decision (CSV)": "همهٔ نظرها (CSV)",
    "Show": "نمایش",
    "Rejects and near calls, undecided": "مردودها و نزدیک به حدها، بی‌نظر",
    "Decided": "نظر داده‌شده",
    "All rejects": "همهٔ مردودها",
    "Everything": "همه",
    "Part number": "شمارهٔ قطعه",
    "Nothing to review here.": "اینجا چیزی برای بازبینی نیست.",
    "Older ones": "قدیمی‌ترها",
    "It is good": "سالم است",
    "Defect": "عیب دارد",
    "Nuisance": "مزاحم (گرد، لکه)",
    "Undo": "برگرداندن",
    "Type of the defect": "نوع عیب",
    "good": "سالم",
    "defect": "عیب",
    "nuisance": "مزاحم",
    "none yet": "هنوز هیچ",
    "by {who}": "از {who}",
    "Nothing to undo.": "چیزی برای برگرداندن نیست.",
    "Keys: arrows choose, O good, D defect, 1-9 a type, N nuisance, U undo": (
        "کلیدها: پیکان‌ها انتخاب، O سالم، D عیب، 1 تا 9 نوع عیب، N مزاحم، U برگرداندن"
    ),
    "Pictures for review": "تصویرها برای بازبینی",
    "bubble": "حباب",
    "scratch": "خراش",
    "stone": "سنگ",
    "chip": "لب‌پریدگی",
    "stain": "لکه",
    "Export decisions": "خروجی نظرها",
    "What was decided becomes a data set for the next training: good and nuisance as normal, defects as abnormal.": (
        "نظرها یک مجموعه‌داده برای آموزش بعدی می‌شوند: سالم و مزاحم عادی‌اند و عیب‌ها غیرعادی."
    ),
    "Accepted parts that nobody looked at, as normal": "قطعه‌های پذیرفته‌شده‌ای که کسی ندیده است، به‌عنوان عادی",
    "Download": "دریافت",
    "Put it beside the training data": "گذاشتن کنار داده‌های آموزش",
    "Name of the data set": "نام مجموعه‌داده",
    "{n} images are now in the data set '{name}'.": "اکنون {n} تصویر در مجموعه‌دادهٔ «{name}» است.",
    # models
    "Inspect with this model": "بازرسی با این مدل",
    "Detector": "آشکارساز",
    "Backbone": "شبکهٔ پایه",
    "Size": "اندازه",
    "Move the limit": "جابه‌جایی حد",
    "Is this limit meant?": "آیا این حد عمدی است؟",
    "It would reject {n} of {of} good images held out from fitting.": (
        "با این حد، {n} تا از {of} تصویر سالمی که در برازش به کار نرفته‌اند رد می‌شوند."
    ),
    "It needs a reason, which is kept with your name.": "این کار دلیل می‌خواهد، که با نام شما نگه داشته می‌شود.",
    "Your reason": "دلیل شما",
    "Apply it all the same": "با این همه اعمال شود",
    "New limit": "حد تازه",
    "Counted again from stored scores": "شمارش دوباره از امتیازهای ثبت‌شده",
    "now": "اکنون",
    "with the new limit": "با حد تازه",
    "Good images held out from fitting: rejected": "تصویرهای سالمِ کنارگذاشته از آموزش: مردود",
    "Good test images: rejected": "تصویرهای سالم آزمون: مردود",
    "Defective test images: escaped": "تصویرهای معیوب آزمون: گریخته",
    "Parts that people called good or nuisance: rejected": "قطعه‌هایی که سالم یا مزاحم خوانده شدند: مردود",
    "Parts that people called defective: escaped": "قطعه‌هایی که معیوب خوانده شدند: گریخته",
    "Latest inspections: rejected": "بازرسی‌های تازه: مردود",
    "A limit that was chosen on test or reviewed parts looks better on them than it will on the line.": (
        "حدی که با قطعه‌های آزمون یا بازبینی‌شده برگزیده شود، روی آن‌ها بهتر از خط به نظر می‌رسد."
    ),
    "Reason": "دلیل",
    "Apply": "اعمال",
    "Back to the calibrated limit ({x})": "بازگشت به حد کالیبره ({x})",
    "The limit of '{name}' is now {x}.": "حد «{name}» اکنون {x} است.",
    "What is promised": "آنچه قول داده می‌شود",
    "This is said of the calibrated limit, {x}. The one in force is higher and keeps it.": (
        "این دربارهٔ حد کالیبره، {x}، گفته شده است. حد کنونی بالاتر است و به آن وفا می‌کند."
    ),
    "This is said of the calibrated limit, {x}. The one in force is lower and does not keep it.": (
        "این دربارهٔ حد کالیبره، {x}، گفته شده است. حد کنونی پایین‌تر است و به آن وفا نمی‌کند."
    ),
    "{made}; {better}.": "{made}؛ {better}.",
    "No promise: {reason}": "هیچ قولی داده نمی‌شود: {reason}",
    "Promise: {promise}": "قول: {promise}",
    "{said} ({notes})": "{said} ({notes})",
    "; ": "؛ ",
    "labelled defects placed the limit, and what it shows on those images is optimistic": (
        "حد با عیب‌های برچسب‌دار تعیین شده است و آنچه روی همان تصویرها نشان می‌دهد خوش‌بینانه است"
    ),
    "a tail fitted to the highest scores placed the limit, so that {rate} rejected is expected, not guaranteed": (
        "حد با دنباله‌ای تعیین شده که بر بالاترین امتیازها برازش یافته است؛ رد شدن {rate} انتظار می‌رود و تضمین نیست"
    ),
    "the limit was moved to where {images} images of a new lot score, so that {rate} of that lot's good parts"
    " rejected is expected if their scores are spread like the earlier ones, not guaranteed": (
        "حد به جایی برده شده که {images} تصویر از یک بهر تازه امتیاز می‌گیرند؛ اگر امتیازهای آن بهر مانند پیشین‌ها"
        " پراکنده باشند، رد شدن {rate} از قطعه‌های سالمش انتظار می‌رود و تضمین نیست"
    ),
    "all good images show one part or photo, which tells nothing about others": (
        "همهٔ تصویرهای سالم از یک قطعه یا عکس‌اند و دربارهٔ دیگران چیزی نمی‌گویند"
    ),
    "approximate, as the same images also weighed what labelled defects taught": (
        "تقریبی، چون وزن آنچه نقص‌های برچسب‌خورده آموختند نیز با همین تصویرها انتخاب شد"
    ),
    "approximate, as each image was scored as if left out of the fit": (
        "تقریبی، چون هر تصویر چنان امتیاز گرفته که گویی در برازش نبوده است"
    ),
    "approximate, as each image was scored by a model that its fold was left out of": (
        "تقریبی، چون هر تصویر از مدلی امتیاز گرفته که بخشِ آن تصویر در برازشش نبوده است"
    ),
    "not the {asked} that were asked for, as the good images show only {groups} parts or photos": (
        "نه {asked} که خواسته شد، چون تصویرهای سالم تنها از {groups} قطعه یا عکس‌اند"
    ),
    "a single one between {low} and {high}, nine times in ten": "یک مدلِ تنها، نُه بار از ده بار، بین {low} و {high}",
    "kept from the limit {x}, which labelled defects moved up to one that rejects no more": (
        "بازمانده از حد {x} که عیب‌های برچسب‌دار آن را بالا برده‌اند، و این یکی بیش از آن رد نمی‌کند"
    ),
    "models made in this way reject at most {rate} of good parts like these on average": (
        "مدل‌هایی که چنین ساخته شوند به‌طور میانگین حداکثر {rate} از قطعه‌های سالمِ مانند این‌ها را رد می‌کنند"
    ),
    "{models} models made in this way reject at most {rate} of good parts like these": (
        "{models} مدلی که چنین ساخته شوند حداکثر {rate} از قطعه‌های سالمِ مانند این‌ها را رد می‌کنند"
    ),
    "at most {rate} on average": "حداکثر {rate} به‌طور میانگین",
    "at most {rate} in {models} models": "حداکثر {rate} در {models} مدل",
    "{k} of {n}": "{k} تا از {n}",
    "{share} of": "{share} از",
    "{promise} ({options})": "{promise} (\u2066{options}\u2069)",
    "the next better promise, {promise}, needs no more good parts": (
        "قول بهتر بعدی، {promise}، به قطعهٔ سالم بیشتری نیاز ندارد"
    ),
    "the next better promise, {promise}, needs {needed} good parts, {more} more than there are": (
        "قول بهتر بعدی، {promise}، {needed} قطعهٔ سالم می‌خواهد، {more} تا بیش از آنچه هست"
    ),
    "the next better promise, {promise}, needs {needed} good parts of that lot, {more} more than there are": (
        "قول بهتر بعدی، {promise}، {needed} قطعهٔ سالم از آن بهر می‌خواهد، {more} تا بیش از آنچه هست"
    ),
    "the next better promise, {promise}, needs {needed} good parts held out of the fit, {more} more than there are": (
        "قول بهتر بعدی، {promise}، {needed} قطعهٔ سالمِ کنارگذاشته از برازش می‌خواهد، {more} تا بیش از آنچه هست"
    ),
    "Read the file again": "خواندن دوبارهٔ فایل",
    "'{name}' was read again.": "«{name}» دوباره خوانده شد.",
    "What was changed": "تغییرها",
    "Nothing has been changed yet.": "هنوز چیزی تغییر نکرده است.",
    "Who": "چه کسی",
    "What": "چه چیزی",
    "From": "از",
    "To": "به",
    "limit": "حد",
    "zones": "آنچه به حساب می‌آید",
    "What counts": "آنچه به حساب می‌آید",
    "Border margin, px": "حاشیهٔ لبه، پیکسل",
    "Smallest defect, px": "کوچک‌ترین عیب، پیکسل",
    "Reason for what counts": "دلیل این تغییر",
    "Set what counts": "تعیین کن",
    "Back to what the file says": "بازگشت به آنچه در فایل است",
    "What counts for '{name}': {zones}.": "آنچه برای «{name}» به حساب می‌آید: {zones}.",
    "{share} of the image": "{share} از تصویر",
    "{px} px from the border on": "از {px} پیکسلی لبه به بعد",
    "defects of at least {px} px": "عیب‌های دست‌کم {px} پیکسلی",
    "everything": "همه‌چیز",
    "Learn more good images": "یادگیری تصویرهای سالم بیشتر",
    "A new model beside this one learns them without a training from scratch; this one stays as it is.": (
        "مدلی تازه در کنار این مدل آن‌ها را بدون آموزش از نو یاد می‌گیرد؛ این مدل همان‌گونه که هست می‌ماند."
    ),
    "The latest images, whatever the model said, but for those that people called defective": (
        "تازه‌ترین تصویرها، هرچه مدل گفته باشد، جز آن‌هایی که افراد معیوب خوانده‌اند"
    ),
    "Rejected parts that people called good or nuisance": "قطعه‌های مردودی که افراد سالم یا مزاحم خوانده‌اند",
    "A data set": "یک مجموعه‌داده",
    "Images to learn": "تصویرهایی که یاد گرفته می‌شوند",
    "How many": "چند تا",
    "Data set to learn": "مجموعه‌دادهٔ یادگیری",
    "Reason for learning": "دلیل یادگیری",
    "Show these images": "نمایش این تصویرها",
    "Learn them": "یاد بگیر",
    "See how it is doing": "دیدن پیشرفت کار",
    "There are no such images.": "چنین تصویری نیست.",
    "They were picked because they were rejected, and say nothing about where the limit should be: it stays.": (
        "این‌ها چون مردود شده‌اند برگزیده شده‌اند و دربارهٔ جای حد چیزی نمی‌گویند: حد همان می‌ماند."
    ),
    "All of them have to be good, and none picked by its score: the limit moves to where they score.": (
        "همه باید سالم باشند و هیچ‌یک به‌خاطر امتیازش برگزیده نشده باشد: حد به جایی می‌رود که این‌ها امتیاز می‌گیرند."
    ),
    "reload": "خواندن دوباره",
    "update": "یادگیری",
    "held out": "کنارگذاشته",
    "good, test": "سالم، آزمون",
    "defective, test": "معیوب، آزمون",
    "latest": "تازه",
    "share of images": "سهم تصویرها",
    "Comparisons": "مقایسه‌ها",
    "There are no comparisons yet: train one, or put a folder of 'pellucid compare' among the models.": (
        "هنوز مقایسه‌ای نیست: یکی آموزش دهید یا پوشه‌ای از «pellucid compare» را کنار مدل‌ها بگذارید."
    ),
    "Side by side": "کنار هم",
    "Comparison": "مقایسه",
    "AUROC": "AUROC",
    "False rejects": "ردهای نادرست",
    "Escapes": "گریخته‌ها",
    "Shows where": "نشان دادن جای عیب",
    "ms per image": "میلی‌ثانیه برای هر تصویر",
    "MB": "مگابایت",
    "recommended": "پیشنهادی",
    "Report": "گزارش",
    "Report of '{name}'": "گزارش «{name}»",
    # train
    "Start the service with --data FOLDER to train on the data sets in that folder.": (
        "برای آموزش، سرویس را با --data FOLDER آغاز کنید تا مجموعه‌داده‌های آن پوشه در دسترس باشند."
    ),
    "There is no data set in '{folder}'.": "در «{folder}» مجموعه‌داده‌ای نیست.",
    "Data set": "مجموعه‌داده",
    "Name of the result": "نام نتیجه",
    "Shorter side of the images (px)": "ضلع کوتاه‌تر تصویر (پیکسل)",
    "False rejects allowed (%)": "ردهای نادرست مجاز (٪)",
    "False alarms allowed per m² (in tiles)": "هشدارهای نادرست مجاز در هر متر مربع (کاشی‌ها)",
    "False alarms allowed per megapixel (in tiles)": "هشدارهای نادرست مجاز در هر مگاپیکسل (کاشی‌ها)",
    "Scale (mm per px)": "مقیاس (میلی‌متر در هر پیکسل)",
    "Detectors": "آشکارسازها",
    "Learn from labelled defects, as far as that shows a gain": (
        "یادگیری از عیب‌های برچسب‌دار، تا جایی که سودمندی‌اش دیده شود"
    ),
    "Start": "آغاز",
    "running": "در حال اجرا",
    "done": "پایان یافت",
    "failed": "ناموفق",
    "cancelled": "لغو شد",
    "{k} of {n} detectors": "{k} از {n} آشکارساز",
    "after {t}": "پس از {t}",
    "about {t} to go": "حدود {t} مانده",
    "See it in Models": "دیدن در مدل‌ها",
    "Log": "گزارش کار",
    "'{name}' has been started.": "«{name}» آغاز شد.",
    # trends
    "Hours": "ساعت",
    "Rejects per hour": "مردودها در هر ساعت",
    "rejected": "مردود",
    "Scores against the calibration": "امتیازها در برابر کالیبراسیون",
    "share of pairs in which a part scores higher": "سهم جفت‌هایی که قطعه امتیاز بالاتری دارد",
    "Fewer than {n} parts were inspected with this model file: there is nothing to compare yet.": (
        "با این فایل مدل کمتر از {n} قطعه بازرسی شده است: هنوز چیزی برای مقایسه نیست."
    ),
    "Parts score like the good images that the limit was chosen from (p = {p}).": (
        "قطعه‌ها مانند تصویرهای سالمی که حد از آن‌ها برگزیده شد امتیاز می‌گیرند (p = {p})."
    ),
    "Parts score higher than the good images that the limit was chosen from in {x} of pairs (p = {p}).": (
        "در {x} از جفت‌ها، قطعه‌ها بالاتر از تصویرهای سالمی که حد از آن‌ها برگزیده شد امتیاز می‌گیرند (p = {p})."
    ),
    "Parts score lower than the good images that the limit was chosen from in {x} of pairs (p = {p}).": (
        "در {x} از جفت‌ها، قطعه‌ها پایین‌تر از تصویرهای سالمی که حد از آن‌ها برگزیده شد امتیاز می‌گیرند (p = {p})."
    ),
    "More are rejected than the rate of {rate} allows (p = {p}): more defects, or a changed line.": (
        "بیش از نرخ {rate} مردود می‌شوند (p = {p}): عیب‌ها بیشتر شده‌اند یا خط تغییر کرده است."
    ),
    "{k} of {n} groups of {size} parts lie outside the control limits.": (
        "{k} گروه از {n} گروهِ {size}تایی بیرون از حدود کنترل‌اند."
    ),
    "Parts that people called defective are left out.": "قطعه‌هایی که معیوب خوانده شدند کنار گذاشته شده‌اند.",
    "Types, as people named them": "نوع‌ها، به نام‌گذاری افراد",
    "Nobody has decided on a part of this model yet.": "هنوز کسی دربارهٔ قطعه‌های این مدل نظر نداده است.",
    "Where defects lie": "جای عیب‌ها",
    "No defect has been found yet.": "هنوز عیبی یافت نشده است.",
} | PERSIAN_OF_SHEETS
