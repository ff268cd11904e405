// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 16550A UART.  Registers are accessed on vCPU threads, input arrives on the
 * I/O thread; serial->lock guards all of it.  Output leaves outside the lock,
 * because a terminal may stall it for as long as it likes.
 */
#include <linux/serial_reg.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "layout.h"

#define FIFO_SIZE	64	/* more than the real 16: fewer wake-ups of the I/O thread */

struct serial {
	pthread_mutex_t lock;
	struct vm *vm;
	void (*output)(void *opaque, u8 byte);
	void (*input_wanted)(void *opaque);
	void *opaque;
	u8 divisor[2];
	u8 ier;
	u8 fcr;
	u8 lcr;
	u8 mcr;
	u8 scratch;
	bool send_done;		/* THR empty, and the guest not yet told */
	bool break_pending;
	bool line;		/* level of the interrupt line */
	u8 fifo[FIFO_SIZE];
	unsigned int head;
	unsigned int count;
};

static u8 line_status(const struct serial *serial)
{
	u8 lsr = UART_LSR_TEMT | UART_LSR_THRE;

	if (serial->count)
		lsr |= UART_LSR_DR;
	if (serial->break_pending)
		lsr |= UART_LSR_BI | UART_LSR_DR;
	return lsr;
}

static u8 interrupt_id(const struct serial *serial)
{
	if (serial->ier & UART_IER_RLSI && serial->break_pending)
		return UART_IIR_RLSI;
	if (serial->ier & UART_IER_RDI && (serial->count || serial->break_pending))
		return UART_IIR_RDI;
	if (serial->ier & UART_IER_THRI && serial->send_done)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update_line(struct serial *serial)
{
	/* OUT2 gates the interrupt on a PC; loopback cuts the line as well. */
	bool line = interrupt_id(serial) != UART_IIR_NO_INT && serial->mcr & UART_MCR_OUT2 &&
		    !(serial->mcr & UART_MCR_LOOP);

	if (line == serial->line)
		return;
	serial->line = line;
	vm_set_irq(serial->vm, SERIAL_IRQ, line);
}

static void push(struct serial *serial, u8 byte)
{
	if (serial->count == FIFO_SIZE)
		return;
	serial->fifo[(serial->head + serial->count) % FIFO_SIZE] = byte;
	serial->count++;
}

static u8 pop(struct serial *serial)
{
	u8 byte;

	/* A break reads as one zero, before what came after it. */
	if (serial->break_pending) {
		serial->break_pending = false;
		return 0;
	}
	if (!serial->count)
		return 0;
	byte = serial->fifo[serial->head];
	serial->head = (serial->head + 1) % FIFO_SIZE;
	serial->count--;
	return byte;
}

static u8 modem_status(const struct serial *serial)
{
	u8 msr = 0;

	if (!(serial->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	if (serial->mcr & UART_MCR_DTR)
		msr |= UART_MSR_DSR;
	if (serial->mcr & UART_MCR_RTS)
		msr |= UART_MSR_CTS;
	if (serial->mcr & UART_MCR_OUT1)
		msr |= UART_MSR_RI;
	if (serial->mcr & UART_MCR_OUT2)
		msr |= UART_MSR_DCD;
	return msr;
}

static u8 read_register(struct serial *serial, u64 offset)
{
	u8 value;

	switch (offset) {
	case UART_RX:
		return serial->lcr & UART_LCR_DLAB ? serial->divisor[0] : pop(serial);
	case UART_IER:
		return serial->lcr & UART_LCR_DLAB ? serial->divisor[1] : serial->ier;
	case UART_IIR:
		value = interrupt_id(serial);
		/* Reading the cause is what clears this one. */
		if (value == UART_IIR_THRI)
			serial->send_done = false;
		if (serial->fcr & UART_FCR_ENABLE_FIFO)
			value |= 0xc0;
		return value;
	case UART_LCR:
		return serial->lcr;
	case UART_MCR:
		return serial->mcr;
	case UART_LSR:
		return line_status(serial);
	case UART_MSR:
		return modem_status(serial);
	default:
		return serial->scratch;
	}
}

/* Returns true when @value is to be sent. */
static bool write_register(struct serial *serial, u64 offset, u8 value)
{
	switch (offset) {
	case UART_TX:
		if (serial->lcr & UART_LCR_DLAB) {
			serial->divisor[0] = value;
			return false;
		}
		serial->send_done = true;
		if (serial->mcr & UART_MCR_LOOP) {
			push(serial, value);
			return false;
		}
		return true;
	case UART_IER:
		if (serial->lcr & UART_LCR_DLAB) {
			serial->divisor[1] = value;
			break;
		}
		/* Enabling it while THR is empty raises the interrupt at once. */
		if (value & ~serial->ier & UART_IER_THRI)
			serial->send_done = true;
		serial->ier = value & 0x0f;
		break;
	case UART_FCR:
		serial->fcr = value;
		if (value & UART_FCR_CLEAR_RCVR)
			serial->count = 0;
		break;
	case UART_LCR:
		serial->lcr = value;
		break;
	case UART_MCR:
		serial->mcr = value & 0x1f;
		break;
	case UART_SCR:
		serial->scratch = value;
		break;
	}
	return false;
}

static void serial_access(void *opaque, u64 offset, void *data, unsigned int len, bool is_write)
{
	struct serial *serial = opaque;
	bool send = false, wanted;
	unsigned int before;
	u8 *byte = data;

	/* The bus is one byte wide. */
	if (len != 1) {
		if (!is_write)
			memset(data, 0xff, len);
		return;
	}
	pthread_mutex_lock(&serial->lock);
	before = serial->count;
	if (is_write)
		send = write_register(serial, offset, *byte);
	else
		*byte = read_register(serial, offset);
	wanted = before > FIFO_SIZE / 2 && serial->count <= FIFO_SIZE / 2;
	update_line(serial);
	pthread_mutex_unlock(&serial->lock);

	if (send)
		serial->output(serial->opaque, *byte);
	if (wanted)
		serial->input_wanted(serial->opaque);
}

size_t serial_input(struct serial *serial, const u8 *data, size_t size)
{
	size_t taken = 0;

	pthread_mutex_lock(&serial->lock);
	/* In loopback the receiver is cut off from the line. */
	if (!(serial->mcr & UART_MCR_LOOP))
		while (taken < size && serial->count < FIFO_SIZE)
			push(serial, data[taken++]);
	update_line(serial);
	pthread_mutex_unlock(&serial->lock);
	return taken;
}

void serial_send_break(struct serial *serial)
{
	pthread_mutex_lock(&serial->lock);
	serial->break_pending = true;
	update_line(serial);
	pthread_mutex_unlock(&serial->lock);
}

struct serial *serial_attach(struct vm *vm, void (*output)(void *opaque, u8 byte),
			     void (*input_wanted)(void *opaque), void *opaque)
{
	struct serial *serial = calloc(1, sizeof(*serial));

	if (!serial)
		host_error("out of memory");
	pthread_mutex_init(&serial->lock, NULL);
	serial->vm = vm;
	serial->output = output;
	serial->input_wanted = input_wanted;
	serial->opaque = opaque;
	serial->send_done = true;
	bus_add(&vm->ports, &(struct bus_device){
		.base = SERIAL_PORT, .size = 8, .access = serial_access, .opaque = serial,
	});
	return serial;
}
