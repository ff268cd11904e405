// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fetching an instruction: CS, its limit, and pages one at a time.  Called
 * where the processor did not provide the bytes.  No state, no lock.
 */
#include "internal.h"

#define PAGE_BYTES	4096u

static int raise(struct emul_ctxt *ctxt, unsigned int vector, bool has_error_code)
{
	ctxt->exception = (struct emul_exception){
		.vector = vector, .has_error_code = has_error_code,
	};
	return EMUL_EXCEPTION;
}

/*
 * Linear address of the code at @offset, and how many of @wanted bytes may be
 * read there: up to the end of the page and to the limit of CS.
 */
static int code_linear(struct emul_ctxt *ctxt, u64 offset, u64 *linear, u32 *wanted)
{
	struct kvm_segment cs = { .base = 0 };
	u32 in_page;

	*linear = offset;
	if (ctxt->mode == EMUL_MODE_64) {
		if (!emul_is_canonical(ctxt, offset))
			return raise(ctxt, VECTOR_GP, true);
	} else {
		ctxt->ops->segment(ctxt->opaque, EMUL_CS, &cs);
		if (offset > cs.limit)
			return raise(ctxt, VECTOR_GP, true);
		if (*wanted > (u64)cs.limit - offset + 1)
			*wanted = (u64)cs.limit - offset + 1;
		*linear = (u32)(cs.base + offset);
	}
	in_page = PAGE_BYTES - (*linear & (PAGE_BYTES - 1));
	if (*wanted > in_page)
		*wanted = in_page;
	return EMUL_DONE;
}

int emul_fetch(struct emul_ctxt *ctxt, struct emul_insn *insn)
{
	u8 bytes[EMUL_MAX_INSN_BYTES];
	u32 have = 0;

	for (;;) {
		u32 wanted = EMUL_MAX_INSN_BYTES - have;
		u64 linear;
		int ret;

		ret = code_linear(ctxt, ctxt->regs->rip + have, &linear, &wanted);
		if (!ret)
			ret = ctxt->ops->fetch(ctxt->opaque, linear, wanted, bytes + have);
		if (ret)
			return ret;
		have += wanted;

		/* With all 15 bytes at hand this is never EMUL_DECODE_MORE. */
		ret = emul_decode(insn, bytes, have, ctxt->mode);
		if (ret > 0)
			return EMUL_DONE;
		if (ret == EMUL_DECODE_TOO_LONG)
			return raise(ctxt, VECTOR_GP, true);
		if (ret == EMUL_DECODE_INVALID)
			return raise(ctxt, VECTOR_UD, false);
	}
}
