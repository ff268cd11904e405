// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MC146818 clock behind ports 0x70 and 0x71, in UTC, BCD and 24 hours.
 * Setting it moves the guest's clock only.  Alarms and periodic interrupts do
 * not exist, and the guest is given no interrupt line for them.  Accessed on
 * vCPU threads; rtc->lock guards all of it.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices.h"
#include "layout.h"

enum {
	SECONDS = 0x00, MINUTES = 0x02, HOURS = 0x04, WEEKDAY = 0x06, DAY = 0x07, MONTH = 0x08,
	YEAR = 0x09, STATUS_A = 0x0a, STATUS_B = 0x0b, STATUS_C = 0x0c, STATUS_D = 0x0d,
	CENTURY = 0x32,
};

#define A_DIVIDER	0x26	/* a 32,768 Hz crystal; never "update in progress" */
#define B_SET		0x80
#define B_24_HOURS	0x02
#define D_VALID		0x80

struct rtc {
	pthread_mutex_t lock;
	u8 index;
	u8 nvram[128];
	time_t offset;		/* the guest's time less the host's */
};

static u8 to_bcd(int value)
{
	return (u8)(value / 10 << 4 | value % 10);
}

static int from_bcd(u8 value)
{
	return (value >> 4) * 10 + (value & 0xf);
}

/* Put the time of now into the registers. */
static void latch_time(struct rtc *rtc)
{
	time_t now = time(NULL) + rtc->offset;
	struct tm tm;

	if (!gmtime_r(&now, &tm))
		return;
	rtc->nvram[SECONDS] = to_bcd(tm.tm_sec);
	rtc->nvram[MINUTES] = to_bcd(tm.tm_min);
	rtc->nvram[HOURS] = to_bcd(tm.tm_hour);
	rtc->nvram[WEEKDAY] = to_bcd(tm.tm_wday + 1);
	rtc->nvram[DAY] = to_bcd(tm.tm_mday);
	rtc->nvram[MONTH] = to_bcd(tm.tm_mon + 1);
	rtc->nvram[YEAR] = to_bcd(tm.tm_year % 100);
	rtc->nvram[CENTURY] = to_bcd(tm.tm_year / 100 + 19);
}

/* The guest ended its update: what it wrote is the time from now on. */
static void take_time(struct rtc *rtc)
{
	struct tm tm = {
		.tm_sec = from_bcd(rtc->nvram[SECONDS]),
		.tm_min = from_bcd(rtc->nvram[MINUTES]),
		.tm_hour = from_bcd(rtc->nvram[HOURS]),
		.tm_mday = from_bcd(rtc->nvram[DAY]),
		.tm_mon = from_bcd(rtc->nvram[MONTH]) - 1,
		.tm_year = from_bcd(rtc->nvram[CENTURY]) * 100 + from_bcd(rtc->nvram[YEAR]) - 1900,
	};

	rtc->offset = timegm(&tm) - time(NULL);
}

/* The odd ones below WEEKDAY are the alarm's. */
static bool is_time(u8 index)
{
	return index == CENTURY || (index <= YEAR && (index >= WEEKDAY || !(index & 1)));
}

static u8 read_register(struct rtc *rtc)
{
	if (is_time(rtc->index) && !(rtc->nvram[STATUS_B] & B_SET))
		latch_time(rtc);
	return rtc->nvram[rtc->index];
}

static void write_register(struct rtc *rtc, u8 value)
{
	u8 before = rtc->nvram[STATUS_B];

	switch (rtc->index) {
	case STATUS_A:
	case STATUS_C:
	case STATUS_D:
		return;
	case STATUS_B:
		/* Freeze the registers while the guest sets them. */
		if (value & ~before & B_SET)
			latch_time(rtc);
		if (before & ~value & B_SET)
			take_time(rtc);
		rtc->nvram[STATUS_B] = (value & B_SET) | B_24_HOURS;
		return;
	}
	if (is_time(rtc->index) && !(before & B_SET))
		return;
	rtc->nvram[rtc->index] = value;
}

static void rtc_access(void *opaque, u64 offset, void *data, unsigned int len, bool is_write)
{
	struct rtc *rtc = opaque;
	u8 *byte = data;

	if (len != 1) {
		if (!is_write)
			memset(data, 0xff, len);
		return;
	}
	pthread_mutex_lock(&rtc->lock);
	if (!offset && is_write)
		rtc->index = *byte & 0x7f;	/* bit 7 masks NMIs */
	else if (!offset)
		*byte = 0xff;
	else if (is_write)
		write_register(rtc, *byte);
	else
		*byte = read_register(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

void rtc_attach(struct vm *vm)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));

	if (!rtc)
		host_error("out of memory");
	pthread_mutex_init(&rtc->lock, NULL);
	rtc->nvram[STATUS_A] = A_DIVIDER;
	rtc->nvram[STATUS_B] = B_24_HOURS;
	rtc->nvram[STATUS_D] = D_VALID;
	/* The C library looks for its time zone once; the sandbox would forbid it later. */
	latch_time(rtc);
	bus_add(&vm->ports, &(struct bus_device){
		.base = RTC_PORT, .size = 2, .access = rtc_access, .opaque = rtc,
	});
}
