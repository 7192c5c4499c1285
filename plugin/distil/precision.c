/* See precision.h. */
#include "distil/precision.h"
#include "cpu/onednn.h"
#include "net/device.h"
#include "support.h"

int find_precision(precision asked, const network *net, const char *file, const char *section)
{
    bfloat16_kind here = on_gpu(net) ? BFLOAT16_NONE : find_bfloat16();
    if (asked == PRECISION_AUTO) return here == BFLOAT16_FAST;
    if (asked == PRECISION_BFLOAT16 && here == BFLOAT16_NONE)
        kd_fail("%s: %s precision=bfloat16, %s: expected float32 or auto", file, section,
                on_gpu(net) ? "which a GPU's networks do not have yet"
                            : "which is oneDNN's (make DNNL=1), on a processor with AVX-512");
    (void)net; /* in a build without a GPU */
    return asked == PRECISION_BFLOAT16;
}
