/* See precision.h. */
#include "distil/precision.h"
#include "cpu/onednn.h"
#include "net/device.h"
#include "support.h"

static void refuse(const network *net, const char *file, const char *section, const char *asked,
                   const char *has, const char *expected)
{
    (void)net; /* in a build without a GPU */
    if (on_gpu(net))
        kd_fail("%s: %s precision=%s, which a GPU's networks do not have yet: expected float32 "
                "or auto",
                file, section, asked);
    kd_fail("%s: %s precision=%s, which is oneDNN's (make DNNL=1), on a processor with %s: "
            "expected %s",
            file, section, asked, has, expected);
}

arithmetic asked_arithmetic(precision asked)
{
    return asked == PRECISION_INT8 ? INT8 : asked == PRECISION_BFLOAT16 ? BFLOAT16 : FLOAT32;
}

arithmetic find_precision(precision asked, const network *net, const char *file,
                          const char *section)
{
    bfloat16_kind bfloat16 = on_gpu(net) ? BFLOAT16_NONE : find_bfloat16();
    if (asked == PRECISION_AUTO) return bfloat16 == BFLOAT16_FAST ? BFLOAT16 : FLOAT32;
    if (asked == PRECISION_BFLOAT16 && bfloat16 == BFLOAT16_NONE)
        refuse(net, file, section, "bfloat16", "AVX-512", "float32 or auto");
    if (asked == PRECISION_INT8 && (on_gpu(net) || !has_int8()))
        refuse(net, file, section, "int8", "AVX512_VNNI", "float32, bfloat16 or auto");
    return asked_arithmetic(asked);
}
